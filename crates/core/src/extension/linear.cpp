// A dense layer whose weight is not trained.
//
// Few rows that no gradient is recorded for are products.h's. Many rows in f32 on an x86 CPU are oneDNN's, by the operator that
// libtorch's compiler calls for them: at::linear asks MKL, which uses half of the vectors on CPUs of AMD. Anything else is
// at::linear's.

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <qtuner/fenced.h>
#include <torch/csrc/autograd/custom_function.h>

#include <optional>

#include "products.h"

using at::Tensor;
using qtuner::fenced;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;
using OptionalTensor = std::optional<Tensor>;

namespace {

// Multiplications for which oneDNN's call pays: it takes some ten microseconds.
constexpr int64_t LARGE = 1 << 22;

// oneDNN's product x w^T + bias, if this libtorch has it.
const std::optional<c10::OperatorHandle>& onednn() {
#if defined(__x86_64__)
  static const auto found = at::hasMKLDNN() ? c10::Dispatcher::singleton().findSchema({"mkldnn::_linear_pointwise", ""})
                                            : std::nullopt;
#else
  static const std::optional<c10::OperatorHandle> found;
#endif
  return found;
}

bool is_plain(const Tensor& tensor) {
  return tensor.is_cpu() && tensor.layout() == at::kStrided && tensor.scalar_type() == at::kFloat && !tensor.is_neg();
}

bool is_onednns(const Tensor& x, const Tensor& w, const OptionalTensor& bias) {
  return is_plain(x) && is_plain(w) && w.dim() == 2 && x.dim() > 0 && w.size(1) > 0 && x.size(-1) == w.size(1) &&
      (!bias.has_value() || (is_plain(*bias) && bias->dim() == 1 && bias->size(0) == w.size(0))) &&
      x.numel() * w.size(0) >= LARGE && at::globalContext().userEnabledMkldnn() && onednn().has_value();
}

Tensor by_onednn(const Tensor& x, const Tensor& w, const OptionalTensor& bias) {
  at::AutoDispatchBelowADInplaceOrView guard;
  torch::jit::Stack stack{x, w, bias, "none", c10::List<std::optional<at::Scalar>>(), c10::IValue()};
  onednn()->callBoxed(stack);
  return stack.at(0).toTensor();
}

struct LinearNode : public Function<LinearNode> {
  static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor& w, const OptionalTensor& bias) {
    context->set_materialize_grads(false);
    context->save_for_backward({w});
    return by_onednn(x, w, bias);
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    variable_list result(3);
    if (grads[0].defined()) {
      const Tensor w = context->get_saved_variables()[0];
      result[0] = at::GradMode::is_enabled() ? at::matmul(grads[0], w) : by_onednn(grads[0], w.t(), std::nullopt);
    }
    return result;
  }
};

Tensor by_the_fastest(const Tensor& x, const Tensor& w, const OptionalTensor& bias) {
  const bool is_trained = at::GradMode::is_enabled() && (w.requires_grad() || (bias && bias->requires_grad()));
  const bool records = is_trained || (at::GradMode::is_enabled() && x.requires_grad());
  if (!records && qtuner::is_few_rows(x, w, bias)) {
    at::AutoDispatchBelowADInplaceOrView guard;
    return qtuner::dense(x, w, bias);
  }
  if (is_trained || !is_onednns(x, w, bias)) {
    return at::linear(x, w, bias);
  }
  return records ? LinearNode::apply(x, w, bias) : by_onednn(x, w, bias);
}

}  // namespace

extern "C" {

// x w^T + bias; bias may be null.
int qtuner_core_linear(const Tensor* x, const Tensor* w, const Tensor* bias, Tensor** result) {
  return fenced([&] {
    const OptionalTensor offset = bias == nullptr ? OptionalTensor() : OptionalTensor(*bias);
    *result = new Tensor(by_the_fastest(*x, *w, offset));
  });
}

}  // extern "C"
