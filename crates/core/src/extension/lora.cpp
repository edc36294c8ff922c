// y + s * B(A(x)) as two nodes of autograd: low = A(x) before the base layer makes y, and y + s * B(low) after it.
//
// Written with libtorch's operators one by one, autograd would keep a copy of x in the adapter's dtype, f32, for the
// gradient of A: twice the memory of the bf16 activations that it copies. Here nothing but x itself (which the layers
// that share an input share) and x A^T is kept. Where the products are not those of products.h, x is cast a slice of rows
// at a time, in both directions.
//
// The first node also passes x on, for the base layer to read. So the base's gradient of x comes to that node, which adds
// its own to it while its sums are at hand; autograd would make both and add them up. The price: the base's gradient of x
// is made wherever one of x is recorded, even for who asks for that of A alone. y, and with products.h's products that gradient,
// are changed in place where nobody else can see them.

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
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
  if (!qtuner::are_plain_factors(wide, right)) {
    return at::linear(wide, right);
  }
  // Whichever side has its terms in a row.
  return wide.size(1) >= right.size(0) ? qtuner::dots(wide, right) : qtuner::sums(wide, right.t(), 1.0, at::kFloat);
}

// x A^T [rows, r], in the dtype of A.
Tensor low_rank(const Tensor& x, const Tensor& a) {
  if (qtuner::are_plain(x, a)) {
    return qtuner::dots(x, a);
  }
  if (x.scalar_type() == a.scalar_type() || x.numel() <= SLICE) {
    return product(x, a);
  }
  Tensor low = at::empty({x.size(0), a.size(0)}, a.options());
  in_slices(x.size(0), x.size(1), [&](int64_t first, int64_t count) {
    slice(low, first, count).copy_(product(slice(x, first, count), a));
  });
  return low;
}

// Whether nobody else can see what a tensor holds: no other handle, view, or gradient's saved result. A tensor that was
// made in inference mode records no gradient outside of it, so it is of no use there.
bool is_sole(const Tensor& tensor) {
  return tensor.use_count() == 1 && tensor.has_storage() && tensor.storage().use_count() == 1 &&
      tensor.is_contiguous() && tensor.is_inference() == c10::InferenceMode::is_enabled();
}

// y + cast(s * (low B^T + bias)), the product rounded once to the dtype of y; in `where`, whose memory may be that of y.
void add(const Tensor& y, const Tensor& low, const Tensor& b, const OptionalTensor& bias, double scaling,
    const Tensor& where) {
  if (qtuner::are_plain(y, low, b, bias)) {
    qtuner::add_sums(y, low, b.t(), scaling, bias, where);
    return;
  }
  in_slices(y.size(0), 2 * y.size(1), [&](int64_t first, int64_t count) {
    Tensor update = product(slice(low, first, count), b);
    Tensor rows = slice(where, first, count);
    if (bias.has_value()) {
      update.add_(*bias);
    }
    at::add_out(rows, slice(y, first, count), update.mul_(scaling).to(y.scalar_type()));
  });
}

// x A^T, and x itself for the base layer.
struct LowRankNode : public Function<LowRankNode> {
  // x [.., in], a [r, in]; the product is [rows, r].
  static variable_list forward(AutogradContext* context, const Tensor& x, const Tensor& a) {
    at::AutoDispatchBelowADInplaceOrView guard;
    context->set_materialize_grads(false);
    context->save_for_backward({x, a});
    return {x, low_rank(rows_of(x), a)};
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto saved = context->get_saved_variables();
    const Tensor &x = saved[0], &a = saved[1];
    const Tensor &passed = grads[0], &grad = grads[1];
    const bool wants_x = context->needs_input_grad(0), wants_a = context->needs_input_grad(1);
    if (!grad.defined()) {
      return {passed, Tensor()};
    }
    if (at::GradMode::is_enabled()) {
      // Asked to create a graph, the gradients are made of differentiable operators.
      const Tensor own = at::mm(grad, a).to(x.scalar_type()).view(x.sizes());
      return {passed.defined() ? passed + own : own, at::mm(grad.t(), rows_of(x).to(a.scalar_type()))};
    }
    at::AutoDispatchBelowADInplaceOrView guard;
    const Tensor rows = rows_of(x);
    return {wants_x ? grad_x(rows, a, grad, passed).view(x.sizes()) : Tensor(),
        wants_a ? grad_a(rows, a, grad) : Tensor()};
  }

  // The product of grad and A, and what was passed back, if anything was.
  static Tensor grad_x(const Tensor& x, const Tensor& a, const Tensor& grad, const Tensor& passed) {
    if (qtuner::are_plain(x, a)) {
      if (!passed.defined()) {
        return qtuner::sums(grad, a, 1.0, x.scalar_type());
      }
      const Tensor where = is_sole(passed) ? passed : at::empty_like(passed, at::MemoryFormat::Contiguous);
      qtuner::add_sums(rows_of(passed), grad, a, 1.0, std::nullopt, rows_of(where));
      return where;
    }
    Tensor result = at::empty(x.sizes(), x.options());
    in_slices(x.size(0), x.size(1), [&](int64_t first, int64_t count) {
      slice(result, first, count).copy_(product(slice(grad, first, count), a.t()));
    });
    return passed.defined() ? result.add_(rows_of(passed)) : result;
  }

  static Tensor grad_a(const Tensor& x, const Tensor& a, const Tensor& grad) {
    if (qtuner::are_plain(x, a)) {
      return qtuner::sums(grad.t(), x, 1.0, a.scalar_type());
    }
    Tensor result = at::zeros_like(a);
    in_slices(x.size(0), x.size(1), [&](int64_t first, int64_t count) {
      const Tensor wide = slice(x, first, count).to(a.scalar_type());
      result.add_(product(slice(grad, first, count).t(), wide.t()));
    });
    return result;
  }
};

// What is no input of a node: y's own memory, to write the sum into.
struct Room {
  Tensor sum;
};

// y + s * (low B^T + bias).
struct LoraNode : public Function<LoraNode> {
  // y [.., out], low [rows, r], b [out, r], bias [out].
  static Tensor forward(AutogradContext* context, const Tensor& y, const Tensor& low, const Tensor& b,
      const OptionalTensor& bias, double scaling, const Room& room) {
    at::AutoDispatchBelowADInplaceOrView guard;
    context->set_materialize_grads(false);
    context->saved_data["scaling"] = scaling;
    context->saved_data["biased"] = bias.has_value();
    context->save_for_backward({low, b});
    add(rows_of(y), low, b, bias, scaling, rows_of(room.sum));
    return room.sum;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    if (!grads[0].defined()) {
      return variable_list(6);
    }
    const auto saved = context->get_saved_variables();
    const Tensor &low = saved[0], &b = saved[1];
    const double scaling = context->saved_data["scaling"].toDouble();
    // An absent bias is no input at all.
    const bool wants_bias = context->saved_data["biased"].toBool() && context->needs_input_grad(3);
    variable_list result(6);
    if (at::GradMode::is_enabled()) {
      const Tensor out = rows_of(grads[0]).to(b.scalar_type()) * scaling;
      result[1] = at::mm(out, b);
      result[2] = at::mm(out.t(), low);
      result[3] = wants_bias ? out.sum(0) : Tensor();
      result[0] = grads[0];
      return result;
    }
    at::AutoDispatchBelowADInplaceOrView guard;
    // Contiguous for the base layer, too.
    const Tensor whole = grads[0].contiguous(), grad = rows_of(whole);
    if (context->needs_input_grad(0)) {
      result[0] = whole;
    }
    Tensor* grad_low = context->needs_input_grad(1) ? &result[1] : nullptr;
    Tensor* grad_b = context->needs_input_grad(2) ? &result[2] : nullptr;
    if (!qtuner::are_plain(grad, low, b, std::nullopt)) {
      in_pieces(grad, low, b, scaling, grad_low, grad_b, wants_bias ? &result[3] : nullptr);
      return result;
    }
    if (grad.size(0) <= qtuner::FEW_FOR_NARROW) {
      qtuner::narrow(grad, b, low, scaling, grad_low, grad_b);
    } else {
      if (grad_low != nullptr) {
        *grad_low = qtuner::dots(grad, qtuner::turned(b), scaling);
      }
      if (grad_b != nullptr) {
        *grad_b = qtuner::turned(qtuner::sums(low.t(), grad, scaling, at::kFloat));
      }
    }
    if (wants_bias) {
      result[3] = grad.sum(0, false, at::kFloat).mul_(scaling);
    }
    return result;
  }

  // A slice of rows at a time. What nothing points to is not made.
  static void in_pieces(const Tensor& grad, const Tensor& low, const Tensor& b, double scaling, Tensor* grad_low,
      Tensor* grad_b, Tensor* grad_bias) {
    const auto dtype = b.scalar_type();
    if (grad_low != nullptr) {
      *grad_low = at::empty_like(low);
    }
    if (grad_b != nullptr) {
      *grad_b = at::zeros_like(b);
    }
    if (grad_bias != nullptr) {
      *grad_bias = at::zeros({b.size(0)}, b.options());
    }
    in_slices(grad.size(0), grad.size(1), [&](int64_t first, int64_t count) {
      const Tensor out = slice(grad, first, count).to(dtype);
      if (grad_low != nullptr) {
        slice(*grad_low, first, count).copy_(product(out, b.t()).mul_(scaling));
      }
      if (grad_b != nullptr) {
        // The transpose of out^T low: the wide matrix is the one that is not turned.
        grad_b->add_(product(slice(low, first, count).t(), out.t()).t(), scaling);
      }
      if (grad_bias != nullptr) {
        grad_bias->add_(out.sum(0), scaling);
      }
    });
  }
};

}  // namespace

extern "C" {

const char* qtuner_core_last_error() {
  return qtuner::last_error.c_str();
}

// x A^T [rows, r], and x again, for the base layer to read where a gradient of x is recorded, or null.
int qtuner_core_low_rank(const Tensor* x, const Tensor* a, Tensor** passed, Tensor** low) {
  return fenced([&] {
    if (at::GradMode::is_enabled()) {
      const variable_list made = LowRankNode::apply(*x, *a);
      *low = new Tensor(made[1]);
      *passed = x->requires_grad() ? new Tensor(made[0]) : nullptr;
    } else {
      at::AutoDispatchBelowADInplaceOrView guard;
      *low = new Tensor(low_rank(rows_of(*x), *a));
      *passed = nullptr;
    }
  });
}

// y + s * (low B^T + bias) in the shape of y, whose memory it may take; bias may be null.
int qtuner_core_add_lora(const Tensor* y, const Tensor* low, const Tensor* b, const Tensor* bias, double scaling,
    Tensor** result) {
  return fenced([&] {
    const OptionalTensor offset = bias == nullptr ? OptionalTensor() : OptionalTensor(*bias);
    const Room room{is_sole(*y) ? y->detach() : at::empty_like(y->detach(), at::MemoryFormat::Contiguous)};
    if (at::GradMode::is_enabled()) {
      *result = new Tensor(LoraNode::apply(*y, *low, *b, offset, scaling, room));
    } else {
      at::AutoDispatchBelowADInplaceOrView guard;
      add(rows_of(*y), *low, *b, offset, scaling, rows_of(room.sum));
      *result = new Tensor(room.sum);
    }
  });
}

}  // extern "C"
