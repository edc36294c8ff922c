// RMS norms, gates of SiLU and rotations as nodes of autograd, and losses with their gradients, row by row. Of libtorch's
// operators, each takes six or eight, which keep copies in f32 and, for one token, take longer to call than to do.
//
// This file is shapes, memory, threads and the nodes; the numbers are in Rust (elementwise), called with plain pointers. Asked to
// create a graph, gradients are made of differentiable operators.

#include <ATen/ATen.h>
#include <qtuner/fenced.h>
#include <qtuner/tasks.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cstdint>

using at::Tensor;
using qtuner::fenced;
using qtuner::Tasks;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

extern "C" {
// Mirrored in elementwise, which says what they mean.
struct QtunerModelsCut {
  int64_t rows, chunk;
  int32_t dtype;
};
struct QtunerModelsNorm {
  QtunerModelsCut cut;
  const void *x, *weight, *grad;
  void* y;
  int64_t width;
  int32_t style;
  float eps;
};
struct QtunerModelsGate {
  QtunerModelsCut cut;
  const void *gate, *up, *grad;
  void *y, *grad_up;
};
struct QtunerModelsRotation {
  QtunerModelsCut cut;
  const void *x, *cos, *sin;
  void* y;
  int64_t strides[3], angle_strides[2];
  int64_t times, heads, width;
  int32_t direction;
};
struct QtunerModelsLosses {
  QtunerModelsCut cut;
  const void* logits;
  const int64_t* targets;
  float* losses;
  void* gradient;
  int64_t vocab;
  float weight;
};
// Written in Rust. They return 0, or 1 after a panic.
int qtuner_models_norm(const QtunerModelsNorm* call, int64_t begin, int64_t end);
int qtuner_models_gate(const QtunerModelsGate* call, int64_t begin, int64_t end);
int qtuner_models_rotation(const QtunerModelsRotation* call, int64_t begin, int64_t end);
int qtuner_models_losses(const QtunerModelsLosses* call, int64_t begin, int64_t end);
}

namespace {

// Elements of a task.
constexpr int64_t CHUNK = 1 << 14;

// Cuts a call into tasks, for all rows of `of`, which have so many elements, and runs them.
template <typename Call>
void spread(Call& call, int (*run)(const Call*, int64_t, int64_t), const Tensor& of, int64_t width) {
  const int64_t rows = of.numel() / width, chunk = std::max<int64_t>(1, CHUNK / width);
  call.cut = {rows, chunk, static_cast<int32_t>(of.scalar_type())};
  Tasks<Call>(call, run).spread((rows + chunk - 1) / chunk, chunk * width);
}

// ---- RMS norms

enum class Style : int32_t { Plain, OnePlus };  // mirrored in elementwise/norm.rs

// The norm of x [rows.., width], or, given one, the gradient of x from that of the norm.
Tensor norm(const Tensor& x, const Tensor& weight, double eps, Style style, const Tensor& grad) {
  const Tensor from = x.contiguous(), scale = weight.contiguous();
  const Tensor of_result = grad.defined() ? grad.contiguous() : grad;
  Tensor y = at::empty_like(from);
  QtunerModelsNorm call{};
  call.x = from.const_data_ptr();
  call.weight = scale.const_data_ptr();
  call.grad = of_result.defined() ? of_result.const_data_ptr() : nullptr;
  call.y = y.mutable_data_ptr();
  call.width = x.size(-1);
  call.style = static_cast<int32_t>(style);
  call.eps = static_cast<float>(eps);
  spread(call, qtuner_models_norm, from, call.width);
  return y;
}

struct NormNode : public Function<NormNode> {
  static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor& weight, double eps, int64_t style) {
    at::AutoDispatchBelowADInplaceOrView guard;
    context->set_materialize_grads(false);
    context->saved_data["eps"] = eps;
    context->saved_data["style"] = style;
    context->save_for_backward({x, weight});
    return norm(x, weight, eps, static_cast<Style>(style), Tensor());
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    if (!grads[0].defined()) {
      return variable_list(4);
    }
    const auto saved = context->get_saved_variables();
    const double eps = context->saved_data["eps"].toDouble();
    const auto style = static_cast<Style>(context->saved_data["style"].toInt());
    const auto gradient = at::GradMode::is_enabled() ? differentiable : once;
    return {gradient(saved[0], saved[1], eps, style, grads[0]), Tensor(), Tensor(), Tensor()};
  }

  static Tensor once(const Tensor& x, const Tensor& weight, double eps, Style style, const Tensor& grad) {
    at::AutoDispatchBelowADInplaceOrView guard;
    return norm(x, weight, eps, style, grad);
  }

  static Tensor differentiable(const Tensor& x, const Tensor& weight, double eps, Style style, const Tensor& grad) {
    const Tensor wide = x.to(at::kFloat), scale = weight.to(at::kFloat) + (style == Style::OnePlus ? 1.0 : 0.0);
    const Tensor share = at::rsqrt(wide.square().mean(-1, true) + eps);
    const Tensor normed = wide * share, of_normed = grad.to(at::kFloat) * scale;
    return (share * (of_normed - normed * (normed * of_normed).mean(-1, true))).to(x.scalar_type());
  }
};

// ---- Gates: silu(gate) * up

QtunerModelsGate gate_call(const Tensor& gate, const Tensor& up) {
  QtunerModelsGate call{};
  call.gate = gate.const_data_ptr();
  call.up = up.const_data_ptr();
  return call;
}

Tensor gated(const Tensor& gate, const Tensor& up) {
  const Tensor left = gate.contiguous(), right = up.contiguous();
  Tensor y = at::empty_like(left);
  QtunerModelsGate call = gate_call(left, right);
  call.y = y.mutable_data_ptr();
  spread(call, qtuner_models_gate, left, 1);
  return y;
}

struct GateNode : public Function<GateNode> {
  static Tensor forward(AutogradContext* context, const Tensor& gate, const Tensor& up) {
    at::AutoDispatchBelowADInplaceOrView guard;
    context->set_materialize_grads(false);
    context->save_for_backward({gate, up});
    return gated(gate, up);
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    if (!grads[0].defined()) {
      return variable_list(2);
    }
    const auto saved = context->get_saved_variables();
    if (at::GradMode::is_enabled()) {
      const Tensor &gate = saved[0], &up = saved[1], share = gate.sigmoid();
      return {grads[0] * up * share * (1 + gate * (1 - share)), grads[0] * gate * share};
    }
    at::AutoDispatchBelowADInplaceOrView guard;
    const Tensor gate = saved[0].contiguous(), up = saved[1].contiguous(), grad = grads[0].contiguous();
    Tensor grad_gate = at::empty_like(gate), grad_up = at::empty_like(up);
    QtunerModelsGate call = gate_call(gate, up);
    call.grad = grad.const_data_ptr();
    call.y = grad_gate.mutable_data_ptr();
    call.grad_up = grad_up.mutable_data_ptr();
    spread(call, qtuner_models_gate, gate, 1);
    return {grad_gate, grad_up};
  }
};

// ---- Rotations

enum class Direction : int32_t { Forward, Backward };  // mirrored in elementwise/rotation.rs

// x [batch, heads, time, width] by angles [batch or 1, 1, time, width], laid out as [batch, time, heads, width].
Tensor rotated(const Tensor& x, const Tensor& cos, const Tensor& sin, Direction direction) {
  const Tensor from = x.stride(-1) == 1 ? x : x.contiguous(), cosines = cos.contiguous(), sines = sin.contiguous();
  Tensor y = at::empty({x.size(0), x.size(2), x.size(1), x.size(3)}, x.options());
  QtunerModelsRotation call{};
  call.x = from.const_data_ptr();
  call.cos = cosines.const_data_ptr();
  call.sin = sines.const_data_ptr();
  call.y = y.mutable_data_ptr();
  call.direction = static_cast<int32_t>(direction);
  for (int dim = 0; dim < 3; ++dim) {
    call.strides[dim] = from.stride(dim);
  }
  call.angle_strides[0] = cosines.size(0) == 1 ? 0 : cosines.stride(0);
  call.angle_strides[1] = cosines.stride(2);
  call.times = x.size(2);
  call.heads = x.size(1);
  call.width = x.size(3);
  spread(call, qtuner_models_rotation, from, call.width);
  return y.transpose(1, 2);
}

struct RotationNode : public Function<RotationNode> {
  static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor& cos, const Tensor& sin,
      int64_t direction) {
    at::AutoDispatchBelowADInplaceOrView guard;
    context->set_materialize_grads(false);
    context->saved_data["direction"] = direction;
    context->save_for_backward({cos, sin});
    // Its transpose is what the caller makes a view of.
    return rotated(x, cos, sin, static_cast<Direction>(direction)).transpose(1, 2);
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    if (!grads[0].defined()) {
      return variable_list(4);
    }
    const auto saved = context->get_saved_variables();
    const auto was = static_cast<Direction>(context->saved_data["direction"].toInt());
    const auto back = was == Direction::Forward ? Direction::Backward : Direction::Forward;
    const Tensor grad = grads[0].transpose(1, 2);
    return {turned(grad, saved[0], saved[1], back), Tensor(), Tensor(), Tensor()};
  }

  static Tensor turned(const Tensor& x, const Tensor& cos, const Tensor& sin, Direction direction) {
    if (at::GradMode::is_enabled()) {
      return apply(x, cos, sin, static_cast<int64_t>(direction)).transpose(1, 2);
    }
    at::AutoDispatchBelowADInplaceOrView guard;
    return rotated(x, cos, sin, direction);
  }
};

}  // namespace

extern "C" {

const char* qtuner_models_last_error() {
  return qtuner::last_error.c_str();
}

// The RMS norm of x [.., width], times weight [width], or 1 + weight if `style` says so; both of f32 or bf16 on the CPU.
int qtuner_models_rms_norm(const Tensor* x, const Tensor* weight, double eps, int style, Tensor** result) {
  return fenced([&] {
    if (at::GradMode::is_enabled()) {
      *result = new Tensor(NormNode::apply(*x, *weight, eps, static_cast<int64_t>(style)));
    } else {
      *result = new Tensor(NormNode::once(*x, *weight, eps, static_cast<Style>(style), Tensor()));
    }
  });
}

// silu(gate) * up, of one size and dtype, f32 or bf16, on the CPU.
int qtuner_models_silu_gate(const Tensor* gate, const Tensor* up, Tensor** result) {
  return fenced([&] {
    if (at::GradMode::is_enabled()) {
      *result = new Tensor(GateNode::apply(*gate, *up));
    } else {
      at::AutoDispatchBelowADInplaceOrView guard;
      *result = new Tensor(gated(*gate, *up));
    }
  });
}

// x [batch, heads, time, width] turned by angles [batch or 1, 1, time, width], all of one dtype, f32 or bf16, on the CPU.
int qtuner_models_rotate(const Tensor* x, const Tensor* cos, const Tensor* sin, Tensor** result) {
  return fenced([&] { *result = new Tensor(RotationNode::turned(*x, *cos, *sin, Direction::Forward)); });
}

// Writes the losses [rows], in f32, of logits [rows, vocab], of f32 or bf16 on the CPU, against targets [rows], and, if `gradient`
// is not null, the gradient of `weight` times their sum.
int qtuner_models_cross_entropy(const Tensor* logits, const Tensor* targets, double weight, Tensor** losses,
    Tensor** gradient) {
  return fenced([&] {
    at::AutoDispatchBelowADInplaceOrView guard;
    const Tensor from = logits->contiguous(), wanted = targets->contiguous();
    TORCH_CHECK_INDEX(wanted.ge(0).logical_and(wanted.lt(from.size(1))).all().item<bool>(),
        "a target is outside of the vocabulary of ", from.size(1));
    Tensor sums = at::empty({from.size(0)}, from.options().dtype(at::kFloat));
    Tensor grad = gradient == nullptr ? Tensor() : at::empty_like(from);
    QtunerModelsLosses call{};
    call.logits = from.const_data_ptr();
    call.targets = wanted.const_data_ptr<int64_t>();
    call.losses = sums.mutable_data_ptr<float>();
    call.gradient = grad.defined() ? grad.mutable_data_ptr() : nullptr;
    call.vocab = from.size(1);
    call.weight = static_cast<float>(weight);
    spread(call, qtuner_models_losses, from, call.vocab);
    *losses = new Tensor(sums);
    if (gradient != nullptr) {
      *gradient = new Tensor(grad);
    }
  });
}

}  // extern "C"
