// What tch does not pass on of libtorch's autograd.

#include <ATen/ATen.h>
#include <qtuner/fenced.h>
#include <torch/csrc/autograd/autograd.h>

extern "C" {

// Adds the gradients of sum(tensor * gradient) to the leaves that tensor was made of; its graph is freed.
int qtuner_core_backward(const at::Tensor* tensor, const at::Tensor* gradient) {
  return qtuner::fenced([&] { torch::autograd::backward({*tensor}, {*gradient}); });
}

}  // extern "C"
