// y + s * B(A(x)) as one node of autograd, which keeps x in its own dtype.
//
// Written with libtorch's operators one by one, autograd would keep a copy of x in the adapter's dtype, f32, for the
// gradient of A: twice the memory of the bf16 activations that it copies. Here nothing but x itself (which the layers
// that share an input share) and x A^T is kept. Where the products are not those of products.h, x is cast a slice of rows
// at a time, in both directions.

#include <ATen/ATen.h>
#include <qtuner/fenced.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "products.h"

using at::Tensor;
using qtuner::fenced;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;
using OptionalTensor = std::optional<Tensor>;

namespace {

// Elements, in the adapter's dtype, of the temporaries of one slice of rows: 4 MB of f32.
constexpr int64_t SLICE = 1 << 20;

Tensor rows_of(const Tensor& tensor) {
  return tensor.reshape({-1, tensor.size(-1)});
}

// Rows first .. first + count.
Tensor slice(const Tensor& tensor, int64_t first, int64_t count) {
  return count == tensor.size(0) ? tensor : tensor.narrow(0, first, count);
}

// Calls body(first, count) for slices of `rows` rows, each of which has `width` elements of temporaries.
template <typename Body>
void in_slices(int64_t rows, int64_t width, Body body) {
  const int64_t most = std::max<int64_t>(1, SLICE / std::max<int64_t>(1, width));
  for (int64_t first = 0; first < rows; first += most) {
    body(first, std::min(most, rows - first));
  }
}

// left [m, k] right^T [k, n] in the dtype of right, which is [n, k].
Tensor product(const Tensor& left, const Tensor& right) {
  const Tensor wide = left.to(right.scalar_type());
  if (!qtuner::are_plain(wide, right)) {
    return at::linear(wide, right);
  }
  // Whichever side has its terms in a row.
  return wide.size(1) >= right.size(0) ? qtuner::dots(wide, right) : qtuner::sums(wide, right.t(), 1.0, at::kFloat);
}

// x A^T [rows, r], in the dtype of A.
Tensor low_rank(const Tensor& x, const Tensor& a) {
  if (x.scalar_type() == a.scalar_type() || x.numel() <= SLICE) {
    return product(x, a);
  }
  Tensor low = at::empty({x.size(0), a.size(0)}, a.options());
  in_slices(x.size(0), x.size(1), [&](int64_t first, int64_t count) {
    slice(low, first, count).copy_(product(slice(x, first, count), a));
  });
  return low;
}

// y + cast(s * (low B^T + bias)), the product rounded once to the dtype of y.
Tensor added(const Tensor& y, const Tensor& low, const Tensor& b, const OptionalTensor& bias, double scaling) {
  Tensor sum = at::empty_like(y, at::MemoryFormat::Contiguous);
  in_slices(y.size(0), 2 * y.size(1), [&](int64_t first, int64_t count) {
    const Tensor base = slice(y, first, count);
    Tensor update = product(slice(low, first, count), b);
    Tensor rows = slice(sum, first, count);
    if (bias.has_value()) {
      update.add_(*bias);
    }
    at::add_out(rows, base, update.mul_(scaling).to(y.scalar_type()));
  });
  return sum;
}

// The sum, and x A^T.
std::pair<Tensor, Tensor> forward_without_graph(const Tensor& y, const Tensor& x, const Tensor& a, const Tensor& b,
    const OptionalTensor& bias, double scaling) {
  at::AutoDispatchBelowADInplaceOrView guard;
  if (qtuner::are_plain(x, y, a, b, bias)) {
    const Tensor low = qtuner::dots(x, a);
    return {qtuner::sums(low, b.t(), scaling, y.scalar_type(), bias, y), low};
  }
  const Tensor low = low_rank(x, a);
  return {added(y, low, b, bias, scaling), low};
}

struct LoraNode : public Function<LoraNode> {
  // y [rows, out], x [rows, in], a [r, in], b [out, r], bias [out].
  static Tensor forward(AutogradContext* context, const Tensor& y, const Tensor& x, const Tensor& a, const Tensor& b,
      const OptionalTensor& bias, double scaling) {
    const auto [sum, low] = forward_without_graph(y, x, a, b, bias, scaling);
    context->set_materialize_grads(false);
    context->saved_data["scaling"] = scaling;
    context->saved_data["biased"] = bias.has_value();
    context->save_for_backward({x, a, b, low});
    return sum;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const Tensor& grad = grads[0];
    if (!grad.defined()) {
      return variable_list(6);
    }
    // Asked to create a graph, the gradients are made of differentiable operators.
    variable_list result = at::GradMode::is_enabled() ? in_one_piece(context, grad) : in_pieces(context, grad);
    if (context->needs_input_grad(0)) {
      result[0] = grad;
    }
    return result;
  }

  static variable_list in_one_piece(AutogradContext* context, const Tensor& grad) {
    const auto saved = context->get_saved_variables();
    const Tensor &x = saved[0], &a = saved[1], &b = saved[2];
    const Tensor wide = x.to(a.scalar_type());
    const Tensor out = grad.to(a.scalar_type()) * context->saved_data["scaling"].toDouble();
    const Tensor inner = at::mm(out, b);
    return {Tensor(), at::mm(inner, a).to(x.scalar_type()), at::mm(inner.t(), wide),
        at::mm(out.t(), at::linear(wide, a)), out.sum(0), Tensor()};
  }

  // Only what is asked for, and a slice of rows at a time but for plain products.
  static variable_list in_pieces(AutogradContext* context, const Tensor& grad) {
    at::AutoDispatchBelowADInplaceOrView guard;
    const auto saved = context->get_saved_variables();
    const Tensor &x = saved[0], &a = saved[1], &b = saved[2], &low = saved[3];
    const double scaling = context->saved_data["scaling"].toDouble();
    const auto dtype = a.scalar_type();
    const bool wants_x = context->needs_input_grad(1), wants_a = context->needs_input_grad(2);
    const bool wants_b = context->needs_input_grad(3);
    // An absent bias is no input at all.
    const bool wants_bias = context->saved_data["biased"].toBool() && context->needs_input_grad(4);
    if (qtuner::are_plain(x, grad, a, b, std::nullopt)) {
      const Tensor dense = grad.contiguous();
      const bool few = dense.size(0) <= qtuner::FEW_FOR_NARROW;
      const auto times_b = [&] { return few ? qtuner::narrow(dense, b) : qtuner::dots(dense, b.t()); };
      const auto gradient_of_b = [&] {
        return few ? qtuner::outer(dense, low, scaling)
                   : qtuner::sums(low.t(), dense, scaling, dtype).t().contiguous();
      };
      const Tensor inner = wants_x || wants_a ? times_b() : Tensor();
      return {Tensor(), wants_x ? qtuner::sums(inner, a, scaling, x.scalar_type()) : Tensor(),
          wants_a ? qtuner::sums(inner.t(), x, scaling, dtype) : Tensor(),
          wants_b ? gradient_of_b() : Tensor(),
          wants_bias ? dense.sum(0, false, dtype).mul_(scaling) : Tensor(), Tensor()};
    }
    const auto zeros = [](bool wanted, const Tensor& like) { return wanted ? at::zeros_like(like) : Tensor(); };
    const Tensor grad_x = wants_x ? at::empty(x.sizes(), x.options()) : Tensor();
    const Tensor grad_a = zeros(wants_a, a), grad_b = zeros(wants_b, b), grad_bias = zeros(wants_bias, b.select(1, 0));
    in_slices(x.size(0), x.size(1) + grad.size(1), [&](int64_t first, int64_t count) {
      const Tensor out = slice(grad, first, count).to(dtype);
      if (wants_b) {
        // The transpose of out^T low: the wide matrix is the one that is not turned.
        grad_b.add_(product(slice(low, first, count).t(), out.t()).t(), scaling);
      }
      if (wants_bias) {
        grad_bias.add_(out.sum(0), scaling);
      }
      if (!wants_x && !wants_a) {
        return;
      }
      const Tensor inner = product(out, b.t()).mul_(scaling);
      if (wants_a) {
        grad_a.add_(product(inner.t(), slice(x, first, count).to(dtype).t()));
      }
      if (wants_x) {
        slice(grad_x, first, count).copy_(product(inner, a.t()));
      }
    });
    return {Tensor(), grad_x, grad_a, grad_b, grad_bias, Tensor()};
  }
};

}  // namespace

extern "C" {

const char* qtuner_core_last_error() {
  return qtuner::last_error.c_str();
}

// y + s * B(A(x)) in the shape of y; bias may be null.
int qtuner_core_add_lora(const Tensor* y, const Tensor* x, const Tensor* a, const Tensor* b, const Tensor* bias,
    double scaling, Tensor** result) {
  return fenced([&] {
    const OptionalTensor offset = bias == nullptr ? OptionalTensor() : OptionalTensor(*bias);
    const auto shaped = [&](const auto& add) {
      return new Tensor(add(rows_of(*y), rows_of(*x), *a, *b, offset, scaling).view(y->sizes()));
    };
    if (at::GradMode::is_enabled()) {
      *result = shaped([](const auto&... operands) { return LoraNode::apply(operands...); });
    } else {
      at::AutoDispatchBelowADInplaceOrView guard;
      *result = shaped([](const auto&... operands) { return forward_without_graph(operands...).first; });
    }
  });
}

}  // extern "C"
