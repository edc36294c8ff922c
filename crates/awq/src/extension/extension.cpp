// The operators of namespace qtuner_awq, registered with libtorch's dispatcher.
//
//   gemm(Tensor x, Tensor qweight, Tensor qzeros, Tensor scales, Tensor? bias) -> Tensor
//     x [..., in] in f32, bf16 or f16 -> [..., out] in the dtype of x
//   gemm_grad_input(Tensor grad_y, Tensor qweight, Tensor qzeros, Tensor scales) -> Tensor
//     grad_y [..., out] -> [..., in]
//
// This file is registration, shapes and the autograd nodes. The numbers of the CPU kernels are in Rust (src/kernel),
// which is called with plain pointers. Registration and the functions that Rust calls share this translation unit on
// purpose: a static archive's member is only linked when something in it is referred to.

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <qtuner/fenced.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <optional>

using at::Tensor;
using qtuner::fenced;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;
using OptionalTensor = std::optional<Tensor>;

extern "C" {
// One call of a CPU kernel; mirrored in src/extension/kernels.rs. Every pointer is to contiguous memory, that of qweight
// perhaps column by column.
struct QtunerAwqCall {
  const void* input;   // [rows, in] for gemm, [rows, out] for its gradient
  void* output;        // [rows, out] for gemm, [rows, in] for its gradient
  const int32_t* qweight;
  const int32_t* qzeros;
  const void* scales;
  const float* bias;   // [out] or null; gemm only
  int64_t rows, in_features, out_features, group_size;
  int32_t input_dtype, scales_dtype;  // c10::ScalarType
  int32_t column_major;  // whether qweight's columns, not its rows, are contiguous
};
// Written in Rust. They return null, or a message that lives for ever in the calling thread.
const char* qtuner_awq_cpu_gemm(const QtunerAwqCall* call);
const char* qtuner_awq_cpu_gemm_grad_input(const QtunerAwqCall* call);
}

namespace {

struct Shape {
  int64_t in_features, out_features, group_size;
};

Shape checked_shape(const Tensor& qweight, const Tensor& qzeros, const Tensor& scales) {
  TORCH_CHECK_VALUE(qweight.dim() == 2 && qzeros.dim() == 2 && scales.dim() == 2,
      "qtuner_awq: qweight, qzeros and scales must be matrices, found ", qweight.sizes(), ", ", qzeros.sizes(), " and ",
      scales.sizes());
  const int64_t in = qweight.size(0), out = qweight.size(1) * 8, groups = scales.size(0);
  TORCH_CHECK_TYPE(qweight.scalar_type() == at::kInt && qzeros.scalar_type() == at::kInt,
      "qtuner_awq: qweight and qzeros must be int32, found ", qweight.scalar_type(), " and ", qzeros.scalar_type());
  TORCH_CHECK_VALUE(scales.size(1) == out && qzeros.size(0) == groups && qzeros.size(1) * 8 == out,
      "qtuner_awq: qzeros must be [groups, ", out / 8, "] and scales [groups, ", out, "], found ", qzeros.sizes(),
      " and ", scales.sizes());
  TORCH_CHECK_VALUE(groups > 0 && in % groups == 0,
      "qtuner_awq: ", groups, " groups do not divide ", in, " input features");
  return {in, out, in / groups};
}

std::vector<int64_t> result_sizes(const Tensor& input, int64_t features, int64_t result_features, const char* name) {
  TORCH_CHECK_VALUE(input.dim() > 0 && input.size(-1) == features,
      "qtuner_awq: ", name, " must be [..., ", features, "], found ", input.sizes());
  auto sizes = input.sizes().vec();
  sizes.back() = result_features;
  return sizes;
}

bool is_float(at::ScalarType dtype) {
  return dtype == at::kFloat || dtype == at::kBFloat16 || dtype == at::kHalf;
}

// ---- CPU: shapes and memory here, numbers in Rust.

// Whether the rows of each word lie side by side, and groups are such as the kernels for that order take: of whole blocks of
// rows (BLOCK_ROWS in src/kernel/packed.rs).
bool is_column_major(const Tensor& qweight, const Shape& shape) {
  return !qweight.is_contiguous() && qweight.stride(0) == 1 && qweight.stride(1) == shape.in_features &&
      shape.group_size % 32 == 0;
}

enum class Direction { Forward, GradInput };

Tensor run_cpu(Direction direction, const Tensor& input, const Tensor& qweight, const Tensor& qzeros,
    const Tensor& scales, const OptionalTensor& bias) {
  const Shape shape = checked_shape(qweight, qzeros, scales);
  const bool forward = direction == Direction::Forward;
  const int64_t features = forward ? shape.in_features : shape.out_features;
  const int64_t result = forward ? shape.out_features : shape.in_features;
  TORCH_CHECK_TYPE(is_float(input.scalar_type()) && is_float(scales.scalar_type()),
      "qtuner_awq: dtypes must be float32, bfloat16 or float16, found ", input.scalar_type(), " and scales ",
      scales.scalar_type());
  Tensor output = at::empty(result_sizes(input, features, result, forward ? "x" : "grad_y"), input.options());
  if (bias.has_value()) {
    TORCH_CHECK_VALUE(bias->dim() == 1 && bias->size(0) == shape.out_features,
        "qtuner_awq: bias must be [", shape.out_features, "], found ", bias->sizes());
  }
  const bool column_major = is_column_major(qweight, shape);
  const Tensor dense_input = input.contiguous(), words = column_major ? qweight : qweight.contiguous(),
               zeros = qzeros.contiguous(), steps = scales.contiguous();
  const Tensor offset = bias.has_value() ? bias->to(at::kFloat).contiguous() : Tensor();
  const QtunerAwqCall call{dense_input.const_data_ptr(), output.mutable_data_ptr(),
      words.const_data_ptr<int32_t>(), zeros.const_data_ptr<int32_t>(), steps.const_data_ptr(),
      offset.defined() ? offset.const_data_ptr<float>() : nullptr,
      result == 0 ? 0 : output.numel() / result, shape.in_features, shape.out_features, shape.group_size,
      static_cast<int32_t>(input.scalar_type()), static_cast<int32_t>(scales.scalar_type()),
      column_major ? 1 : 0};
  const char* error = forward ? qtuner_awq_cpu_gemm(&call) : qtuner_awq_cpu_gemm_grad_input(&call);
  TORCH_CHECK(error == nullptr, "qtuner_awq: ", error);
  return output;
}

Tensor gemm_cpu(const Tensor& x, const Tensor& qweight, const Tensor& qzeros, const Tensor& scales,
    const OptionalTensor& bias) {
  return run_cpu(Direction::Forward, x, qweight, qzeros, scales, bias);
}

Tensor gemm_grad_input_cpu(const Tensor& grad_y, const Tensor& qweight, const Tensor& qzeros, const Tensor& scales) {
  return run_cpu(Direction::GradInput, grad_y, qweight, qzeros, scales, std::nullopt);
}

// ---- Any other device: ATen operators.

// Nibbles of [rows, words] in column order: column j of a group of eight is in nibble {0,4,1,5,2,6,3,7}[j].
Tensor unpack(const Tensor& words) {
  const Tensor shifts =
      at::tensor({0, 16, 4, 20, 8, 24, 12, 28}, at::TensorOptions().dtype(at::kInt)).to(words.device());
  const Tensor nibbles = at::__rshift__(words.unsqueeze(-1), shifts).bitwise_and(15);
  return nibbles.reshape({words.size(0), words.size(1) * 8});
}

// W [in, out] = (q - z) * s, rounded once to the dtype of the scales.
Tensor dequantize(const Tensor& qweight, const Tensor& qzeros, const Tensor& scales) {
  const Shape shape = checked_shape(qweight, qzeros, scales);
  const Tensor zeros = unpack(qzeros).repeat_interleave(shape.group_size, 0);
  const Tensor steps = scales.repeat_interleave(shape.group_size, 0);
  return (unpack(qweight) - zeros).to(scales.scalar_type()) * steps;
}

Tensor gemm_fallback(const Tensor& x, const Tensor& qweight, const Tensor& qzeros, const Tensor& scales,
    const OptionalTensor& bias) {
  const Tensor weight = dequantize(qweight, qzeros, scales).to(x.scalar_type());
  const Tensor y = at::matmul(x, weight);
  return bias.has_value() ? y + bias->to(x.scalar_type()) : y;
}

Tensor gemm_grad_input_fallback(const Tensor& grad_y, const Tensor& qweight, const Tensor& qzeros,
    const Tensor& scales) {
  return at::matmul(grad_y, dequantize(qweight, qzeros, scales).to(grad_y.scalar_type()).t());
}

// ---- Meta: shapes alone.

Tensor gemm_meta(const Tensor& x, const Tensor& qweight, const Tensor& qzeros, const Tensor& scales,
    const OptionalTensor&) {
  const Shape shape = checked_shape(qweight, qzeros, scales);
  return at::empty(result_sizes(x, shape.in_features, shape.out_features, "x"), x.options());
}

Tensor gemm_grad_input_meta(const Tensor& grad_y, const Tensor& qweight, const Tensor& qzeros, const Tensor& scales) {
  const Shape shape = checked_shape(qweight, qzeros, scales);
  return at::empty(result_sizes(grad_y, shape.out_features, shape.in_features, "grad_y"), grad_y.options());
}

// ---- Through the dispatcher.

Tensor gemm(const Tensor& x, const Tensor& qweight, const Tensor& qzeros, const Tensor& scales,
    const OptionalTensor& bias) {
  static const auto op =
      c10::Dispatcher::singleton().findSchemaOrThrow("qtuner_awq::gemm", "").typed<decltype(gemm)>();
  return op.call(x, qweight, qzeros, scales, bias);
}

Tensor gemm_grad_input(const Tensor& grad_y, const Tensor& qweight, const Tensor& qzeros, const Tensor& scales) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("qtuner_awq::gemm_grad_input", "")
                             .typed<decltype(gemm_grad_input)>();
  return op.call(grad_y, qweight, qzeros, scales);
}

// ---- Autograd: the gradient reaches x and the bias; the packed tensors are constants.

struct GradInputNode : public Function<GradInputNode> {
  static Tensor forward(AutogradContext*, const Tensor& grad_y, const Tensor& qweight, const Tensor& qzeros,
      const Tensor& scales) {
    at::AutoDispatchBelowADInplaceOrView guard;
    return gemm_grad_input(grad_y, qweight, qzeros, scales);
  }

  static variable_list backward(AutogradContext*, const variable_list&) {
    TORCH_CHECK_NOT_IMPLEMENTED(false,
        "qtuner_awq::gemm: double backward is not supported: call backward without create_graph");
  }
};

struct GemmNode : public Function<GemmNode> {
  static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor& qweight, const Tensor& qzeros,
      const Tensor& scales, const OptionalTensor& bias) {
    at::AutoDispatchBelowADInplaceOrView guard;
    context->set_materialize_grads(false);
    context->save_for_backward({qweight, qzeros, scales});
    if (bias.has_value()) {
      context->saved_data["bias_dtype"] = static_cast<int64_t>(bias->scalar_type());
    }
    return gemm(x, qweight, qzeros, scales, bias);
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    variable_list result(5);
    const Tensor& grad_y = grads[0];
    if (!grad_y.defined()) {
      return result;
    }
    const auto saved = context->get_saved_variables();
    if (context->needs_input_grad(0)) {
      result[0] = gemm_grad_input(grad_y, saved[0], saved[1], saved[2]);
    }
    if (context->saved_data.count("bias_dtype") && context->needs_input_grad(4)) {
      const auto dtype = static_cast<at::ScalarType>(context->saved_data["bias_dtype"].toInt());
      result[4] = grad_y.reshape({-1, grad_y.size(-1)}).sum(0, false, at::kFloat).to(dtype);
    }
    return result;
  }
};

// Making a node takes as long as a small product, so none is made where nothing would use it.
bool tracked(const Tensor& tensor) { return at::GradMode::is_enabled() && tensor.requires_grad(); }

Tensor gemm_autograd(const Tensor& x, const Tensor& qweight, const Tensor& qzeros, const Tensor& scales,
    const OptionalTensor& bias) {
  if (tracked(x) || (bias && tracked(*bias))) {
    return GemmNode::apply(x, qweight, qzeros, scales, bias);
  }
  at::AutoDispatchBelowADInplaceOrView guard;
  return gemm(x, qweight, qzeros, scales, bias);
}

Tensor gemm_grad_input_autograd(const Tensor& grad_y, const Tensor& qweight, const Tensor& qzeros,
    const Tensor& scales) {
  if (tracked(grad_y)) {
    return GradInputNode::apply(grad_y, qweight, qzeros, scales);
  }
  at::AutoDispatchBelowADInplaceOrView guard;
  return gemm_grad_input(grad_y, qweight, qzeros, scales);
}

// ---- Registration.

TORCH_LIBRARY(qtuner_awq, library) {
  library.def("gemm(Tensor x, Tensor qweight, Tensor qzeros, Tensor scales, Tensor? bias=None) -> Tensor");
  library.def("gemm_grad_input(Tensor grad_y, Tensor qweight, Tensor qzeros, Tensor scales) -> Tensor");
}

TORCH_LIBRARY_IMPL(qtuner_awq, CPU, library) {
  library.impl("gemm", gemm_cpu);
  library.impl("gemm_grad_input", gemm_grad_input_cpu);
}

TORCH_LIBRARY_IMPL(qtuner_awq, CompositeExplicitAutograd, library) {
  library.impl("gemm", gemm_fallback);
  library.impl("gemm_grad_input", gemm_grad_input_fallback);
}

TORCH_LIBRARY_IMPL(qtuner_awq, Meta, library) {
  library.impl("gemm", gemm_meta);
  library.impl("gemm_grad_input", gemm_grad_input_meta);
}

TORCH_LIBRARY_IMPL(qtuner_awq, Autograd, library) {
  library.impl("gemm", gemm_autograd);
  library.impl("gemm_grad_input", gemm_grad_input_autograd);
}

// ---- For Rust.

OptionalTensor optional(const Tensor* tensor) {
  return tensor == nullptr ? OptionalTensor() : OptionalTensor(*tensor);
}

}  // namespace

extern "C" {

const char* qtuner_awq_last_error() {
  return qtuner::last_error.c_str();
}

int qtuner_awq_is_registered() {
  const auto op = c10::Dispatcher::singleton().findSchema({"qtuner_awq::gemm", ""});
  return op.has_value() && op->hasKernelForDispatchKey(c10::DispatchKey::CPU) ? 1 : 0;
}

int qtuner_awq_gemm(const Tensor* x, const Tensor* qweight, const Tensor* qzeros, const Tensor* scales,
    const Tensor* bias, Tensor** result) {
  return fenced([&] { *result = new Tensor(gemm(*x, *qweight, *qzeros, *scales, optional(bias))); });
}

int qtuner_awq_gemm_grad_input(const Tensor* grad_y, const Tensor* qweight, const Tensor* qzeros,
    const Tensor* scales, Tensor** result) {
  return fenced([&] { *result = new Tensor(gemm_grad_input(*grad_y, *qweight, *qzeros, *scales)); });
}

// The device-neutral kernel, on whatever device the tensors are: what a GPU would run.
int qtuner_awq_gemm_fallback(const Tensor* x, const Tensor* qweight, const Tensor* qzeros, const Tensor* scales,
    const Tensor* bias, Tensor** result) {
  return fenced([&] { *result = new Tensor(gemm_fallback(*x, *qweight, *qzeros, *scales, optional(bias))); });
}

// The sizes of the result, by the meta kernel: nothing is computed.
int qtuner_awq_gemm_meta(const Tensor* x, const Tensor* qweight, const Tensor* qzeros, const Tensor* scales,
    int64_t* sizes, int64_t capacity, int64_t* dims) {
  return fenced([&] {
    const auto meta = [](const Tensor& tensor) { return tensor.to(at::kMeta); };
    const Tensor y = gemm(meta(*x), meta(*qweight), meta(*qzeros), meta(*scales), std::nullopt);
    *dims = y.dim();
    TORCH_CHECK(y.dim() <= capacity, "qtuner_awq: ", y.dim(), " dimensions, expected at most ", capacity);
    for (int64_t i = 0; i < y.dim(); ++i) {
      sizes[i] = y.size(i);
    }
  });
}

}  // extern "C"
