// What tch does not pass on of libtorch's autograd.

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <qtuner/fenced.h>
#include <torch/csrc/autograd/autograd.h>

extern "C" {

// Adds the gradients of sum(tensor * gradient) to the leaves that tensor was made of; its graph is freed.
int qtuner_core_backward(const at::Tensor* tensor, const at::Tensor* gradient) {
  return qtuner::fenced([&] { torch::autograd::backward({*tensor}, {*gradient}); });
}

// Turns inference mode on for this thread; `leave` with what it gives, on this thread, restores what was before.
int qtuner_core_enter_inference_mode(c10::InferenceMode** entered) {
  return qtuner::fenced([&] { *entered = new c10::InferenceMode(); });
}

void qtuner_core_leave_inference_mode(c10::InferenceMode* entered) {
  delete entered;
}

}  // extern "C"
