// A dense layer whose weight is not trained.
//
// Few rows that no gradient is recorded for are products.h's. Many rows in f32 on an x86 CPU are oneDNN's, by the operator that
// libtorch's compiler calls for them: at::linear asks MKL, which uses half of the vectors on CPUs of AMD. So are those in f16,
// cast to f32 some rows of the weight at a time, unless the CPU multiplies f16 itself: at::linear takes a loop that is a hundred
// times as slow. Anything else is at::linear's.

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <qtuner/fenced.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <optional>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

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
// Rows from which on it pays to cast a weight of f16: libtorch's gradient is slow from the first ones on.
constexpr int64_t MANY = 32, MANY_WITH_GRADIENT = 4;

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

// Whether the CPU multiplies f16: then at::linear does, too.
bool has_f16() {
#if defined(__x86_64__)
  static const bool has = [] {
    unsigned int a = 0, b = 0, c = 0, d = 0;
    constexpr unsigned int AVX512_FP16 = 1u << 23;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d & AVX512_FP16) != 0;
  }();
  return has;
#else
  return true;
#endif
}

bool is_plain(const Tensor& tensor, at::ScalarType dtype) {
  return tensor.is_cpu() && tensor.layout() == at::kStrided && tensor.scalar_type() == dtype && !tensor.is_neg();
}

bool is_onednns(const Tensor& x, const Tensor& w, const OptionalTensor& bias, int64_t many_of_f16) {
  const auto dtype = x.scalar_type();
  const auto pays = [&] { return dtype == at::kHalf && !has_f16() && x.numel() >= many_of_f16 * w.size(1); };
  return w.dim() == 2 && (dtype == at::kFloat || pays()) && is_plain(x, dtype) && is_plain(w, dtype) &&
      x.dim() > 0 && w.size(1) > 0 && x.size(-1) == w.size(1) &&
      (!bias.has_value() || (is_plain(*bias, dtype) && bias->dim() == 1 && bias->size(0) == w.size(0))) &&
      x.numel() * w.size(0) >= LARGE && at::globalContext().userEnabledMkldnn() && onednn().has_value();
}

// In f32.
Tensor product(const Tensor& x, const Tensor& w, const OptionalTensor& bias) {
  torch::jit::Stack stack{x, w, bias, "none", c10::List<std::optional<at::Scalar>>(), c10::IValue()};
  onednn()->callBoxed(stack);
  return stack.at(0).toTensor();
}

// Calls body(first, count, rows first .. first + count of w, in f32), a few megabytes at a time.
template <typename Body>
void in_pieces(const Tensor& w, Body body) {
  constexpr int64_t PIECE = 1 << 21;
  const int64_t most = std::max<int64_t>(1, PIECE / w.size(1));
  for (int64_t first = 0; first < w.size(0); first += most) {
    const int64_t count = std::min(most, w.size(0) - first);
    body(first, count, w.narrow(0, first, count).to(at::kFloat));
  }
}

// x w^T + bias
Tensor by_onednn(const Tensor& x, const Tensor& w, const OptionalTensor& bias) {
  at::AutoDispatchBelowADInplaceOrView guard;
  if (x.scalar_type() == at::kFloat) {
    return product(x, w, bias);
  }
  auto sizes = x.sizes().vec();
  sizes.back() = w.size(0);
  Tensor y = at::empty(sizes, x.options());
  const Tensor wide = x.to(at::kFloat);
  in_pieces(w, [&](int64_t first, int64_t count, const Tensor& rows) {
    const auto part = bias.has_value() ? OptionalTensor(bias->narrow(0, first, count).to(at::kFloat)) : std::nullopt;
    y.narrow(-1, first, count).copy_(product(wide, rows, part));
  });
  return y;
}

// grad w
Tensor gradient(const Tensor& grad, const Tensor& w) {
  at::AutoDispatchBelowADInplaceOrView guard;
  if (grad.scalar_type() == at::kFloat) {
    return product(grad, w.t(), std::nullopt);
  }
  auto sizes = grad.sizes().vec();
  sizes.back() = w.size(1);
  Tensor sum = at::zeros(sizes, grad.options().dtype(at::kFloat));
  in_pieces(w, [&](int64_t first, int64_t count, const Tensor& rows) {
    sum.add_(product(grad.narrow(-1, first, count).to(at::kFloat), rows.t(), std::nullopt));
  });
  return sum.to(grad.scalar_type());
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
      result[0] = at::GradMode::is_enabled() ? at::matmul(grads[0], w) : gradient(grads[0], w);
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
  if (is_trained || !is_onednns(x, w, bias, records ? MANY_WITH_GRADIENT : MANY)) {
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
