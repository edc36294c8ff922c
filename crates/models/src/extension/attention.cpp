// Causal attention in bf16, f32 or f16 as one node of autograd, which keeps its inputs, its result and one number for each query.
//
// This file is shapes, memory, threads and the node; the numbers are in Rust (attention), called with plain pointers, and
// the products of tiles are libtorch's own: at::native::cpublas::brgemm, oneDNN's micro-kernels.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/native/CPUBlas.h>
#include <qtuner/fenced.h>
#include <qtuner/tasks.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cstdint>
#include <optional>

using at::Tensor;
using qtuner::fenced;
using qtuner::Tasks;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;
using OptionalTensor = std::optional<Tensor>;

extern "C" {
// Mirrored in attention/call.rs, which says what they mean.
struct QtunerModelsRows {
  void* data;
  int64_t strides[3];
};
struct QtunerModelsAttention {
  QtunerModelsRows query, key, value, out, grad_out, grad_query, grad_key, grad_value;
  const void* mask;
  int64_t mask_strides[2];
  float* logs;
  void *keys_turned, *values_turned, *keys_paired, *values_paired;
  float *key_sums, *value_sums;
  int64_t batch, heads, key_heads, queries, keys, width, first;
  float scale, softcap;
  int32_t dtype;
};
// Written in Rust. They return 0, or 1 after a panic.
int qtuner_models_attention_pack(const QtunerModelsAttention* call, int64_t begin, int64_t end);
int qtuner_models_attention_forward(const QtunerModelsAttention* call, int64_t begin, int64_t end);
int qtuner_models_attention_backward(const QtunerModelsAttention* call, int64_t begin, int64_t end);
int qtuner_models_attention_add_heads(const QtunerModelsAttention* call, int64_t begin, int64_t end);
}

namespace {

// Queries and keys of a tile; mirrored in attention/call.rs.
constexpr int64_t QUERIES = 64;
constexpr int64_t KEYS = 128;
// Sums of the gradients of keys and values by query head, before heads are added: 32 MB, or as many as give each thread a head.
constexpr int64_t MOST_SUMS = 1 << 23;

// What every call has.
struct Operands {
  Tensor query, key, value;
  OptionalTensor mask;
  double scale, softcap;

  int64_t batch() const { return query.size(0); }
  int64_t heads() const { return query.size(1); }
  int64_t key_heads() const { return key.size(1); }
  int64_t queries() const { return query.size(2); }
  int64_t keys() const { return key.size(2); }
  int64_t width() const { return query.size(3); }
  int64_t key_blocks() const { return (keys() + KEYS - 1) / KEYS; }
  int64_t query_blocks() const { return (queries() + QUERIES - 1) / QUERIES; }
};

// With contiguous rows, and f16 in f32: few CPUs have products of it.
Tensor with_rows(const Tensor& tensor) {
  const Tensor wide = tensor.scalar_type() == at::kHalf ? tensor.to(at::kFloat) : tensor;
  return wide.stride(-1) == 1 ? wide : wide.contiguous();
}

Operands operands_of(const Tensor& query, const Tensor& key, const Tensor& value, const OptionalTensor& mask, double scale,
    double softcap) {
  const OptionalTensor additive = mask.has_value() ? OptionalTensor(with_rows(*mask)) : mask;
  return {with_rows(query), with_rows(key), with_rows(value), additive, scale, softcap};
}

// [batch, heads, time, width]
QtunerModelsRows rows(const Tensor& tensor) {
  return {const_cast<void*>(tensor.const_data_ptr()), {tensor.stride(0), tensor.stride(1), tensor.stride(2)}};
}

QtunerModelsAttention call_of(const Operands& of) {
  QtunerModelsAttention call{};
  call.query = rows(of.query);
  call.key = rows(of.key);
  call.value = rows(of.value);
  if (of.mask.has_value()) {
    call.mask = of.mask->const_data_ptr();
    call.mask_strides[0] = of.mask->size(0) == 1 ? 0 : of.mask->stride(0);
    call.mask_strides[1] = of.mask->stride(2);
  }
  call.batch = of.batch();
  call.heads = of.heads();
  call.key_heads = of.key_heads();
  call.queries = of.queries();
  call.keys = of.keys();
  call.width = of.width();
  call.scale = static_cast<float>(of.scale);
  call.softcap = static_cast<float>(of.softcap);
  call.dtype = static_cast<int32_t>(of.query.scalar_type());
  return call;
}

// Memory for all keys, or values, of a call as right sides of products.
Tensor panels(const Operands& of) {
  return at::empty({of.batch() * of.key_heads() * of.key_blocks(), KEYS * of.width()}, of.key.options());
}

void spread(const QtunerModelsAttention& call, int (*run)(const QtunerModelsAttention*, int64_t, int64_t), int64_t tasks,
    int64_t work) {
  Tasks<QtunerModelsAttention>(call, run).spread(tasks, work);
}

// The result [batch, queries, heads, width], and of each query the logarithm, to the base 2, of its sum of weights:
// [batch, heads, queries].
std::pair<Tensor, Tensor> attend(const Operands& of) {
  Tensor out = at::empty({of.batch(), of.queries(), of.heads(), of.width()}, of.query.options());
  Tensor logs = at::empty({of.batch(), of.heads(), of.queries()}, of.query.options().dtype(at::kFloat));
  const Tensor keys_turned = panels(of), values_paired = panels(of);
  QtunerModelsAttention call = call_of(of);
  call.keys_turned = keys_turned.mutable_data_ptr();
  call.values_paired = values_paired.mutable_data_ptr();
  call.out = rows(out.transpose(1, 2));
  call.logs = logs.mutable_data_ptr<float>();
  spread(call, qtuner_models_attention_pack, keys_turned.size(0), keys_turned.size(1));
  spread(call, qtuner_models_attention_forward, of.batch() * of.heads() * of.query_blocks(),
      QUERIES * of.keys() * of.width());
  return {out, logs};
}

// The gradients of query, key and value.
variable_list gradients(const Operands& of, const Tensor& out, const Tensor& logs, const Tensor& grad) {
  const auto like = [](const Tensor& of) {
    return at::empty({of.size(0), of.size(2), of.size(1), of.size(3)}, of.options()).transpose(1, 2);
  };
  const Tensor grad_query = like(of.query), grad_key = like(of.key), grad_value = like(of.value);
  const Tensor keys_turned = panels(of), values_turned = panels(of), keys_paired = panels(of);
  // Key heads of all texts, some at a time.
  const int64_t pairs = of.batch() * of.key_heads(), group = of.heads() / of.key_heads();
  const int64_t sums = group * of.key_blocks() * KEYS * of.width();
  const int64_t busy = (at::get_num_threads() + group - 1) / group;
  const int64_t most = std::min(std::max(MOST_SUMS / 2 / sums, busy), pairs);
  const Tensor key_sums = at::empty({most, sums}, logs.options()), value_sums = at::empty_like(key_sums);
  QtunerModelsAttention call = call_of(of);
  call.keys_turned = keys_turned.mutable_data_ptr();
  call.values_turned = values_turned.mutable_data_ptr();
  call.keys_paired = keys_paired.mutable_data_ptr();
  call.out = rows(out.transpose(1, 2));
  call.logs = logs.mutable_data_ptr<float>();
  call.grad_out = rows(grad.transpose(1, 2));
  call.grad_query = rows(grad_query);
  call.grad_key = rows(grad_key);
  call.grad_value = rows(grad_value);
  call.key_sums = key_sums.mutable_data_ptr<float>();
  call.value_sums = value_sums.mutable_data_ptr<float>();
  spread(call, qtuner_models_attention_pack, keys_turned.size(0), keys_turned.size(1));
  for (call.first = 0; call.first < pairs; call.first += most) {
    const int64_t count = std::min(most, pairs - call.first);
    spread(call, qtuner_models_attention_backward, count * group, of.queries() * of.keys() * of.width());
    spread(call, qtuner_models_attention_add_heads, count * of.key_blocks(), group * KEYS * of.width());
  }
  return {grad_query, grad_key, grad_value};
}

struct AttentionNode : public Function<AttentionNode> {
  // query [batch, heads, queries, width], key and value [batch, key heads, keys, width]
  // -> [batch, queries, heads, width]
  static Tensor forward(AutogradContext* context, const Tensor& query, const Tensor& key, const Tensor& value,
      const OptionalTensor& mask, double scale, double softcap) {
    at::AutoDispatchBelowADInplaceOrView guard;
    const auto [wide, logs] = attend(operands_of(query, key, value, mask, scale, softcap));
    const Tensor out = wide.to(query.scalar_type());
    context->set_materialize_grads(false);
    context->saved_data["scale"] = scale;
    context->saved_data["softcap"] = softcap;
    context->save_for_backward({query, key, value, out, logs, mask.value_or(Tensor())});
    return out;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    variable_list result(6);
    if (!grads[0].defined()) {
      return result;
    }
    TORCH_CHECK(!at::GradMode::is_enabled(),
        "attention has no second derivative: ask for gradients without a graph of their own (create_graph)");
    at::AutoDispatchBelowADInplaceOrView guard;
    const auto saved = context->get_saved_variables();
    const OptionalTensor mask = saved[5].defined() ? OptionalTensor(saved[5]) : OptionalTensor();
    const Operands operands = operands_of(saved[0], saved[1], saved[2], mask, context->saved_data["scale"].toDouble(),
        context->saved_data["softcap"].toDouble());
    const variable_list found = gradients(operands, with_rows(saved[3]), saved[4], with_rows(grads[0].contiguous()));
    for (size_t index = 0; index < found.size(); ++index) {
      if (context->needs_input_grad(index)) {
        result[index] = found[index].to(saved[0].scalar_type());
      }
    }
    return result;
  }
};

}  // namespace

extern "C" {

// Attention of query [batch, heads, queries, width] to key and value [batch, key heads, keys, width], in the shape of query;
// all of bf16, f32 or f16 on the CPU. mask may be null, or [batch or 1, 1, queries, keys] of the same; softcap is 0 for none.
int qtuner_models_attend(const Tensor* query, const Tensor* key, const Tensor* value, const Tensor* mask, double scale,
    double softcap, Tensor** result) {
  return fenced([&] {
    const OptionalTensor additive = mask == nullptr ? OptionalTensor() : OptionalTensor(*mask);
    if (at::GradMode::is_enabled()) {
      *result = new Tensor(
          AttentionNode::apply(*query, *key, *value, additive, scale, softcap).transpose(1, 2));
    } else {
      at::AutoDispatchBelowADInplaceOrView guard;
      const Tensor out = attend(operands_of(*query, *key, *value, additive, scale, softcap)).first;
      *result = new Tensor(out.to(query->scalar_type()).transpose(1, 2));
    }
  });
}

// c [m, n] = a [m, k] b [k, n], plus c if `adds` is not 0; of b, pairs of rows are side by side: [k / 2, n, 2].
int qtuner_models_brgemm_bf16(int64_t m, int64_t n, int64_t k, int adds, const void* a, const void* b, float* c) {
  return fenced([&] {
    at::native::cpublas::brgemm(m, n, k, k, n, n, adds != 0, static_cast<const at::BFloat16*>(a),
        static_cast<const at::BFloat16*>(b), c, true);
  });
}

// The same in f32, where b is [k, n].
int qtuner_models_brgemm_f32(int64_t m, int64_t n, int64_t k, int adds, const float* a, const float* b, float* c) {
  return fenced([&] { at::native::cpublas::brgemm(m, n, k, k, n, n, adds != 0, a, b, c, false); });
}

// What a thread does after its products: some CPUs have a state for them.
int qtuner_models_brgemm_release() {
  return fenced([] { at::native::cpublas::brgemm_release(true); });
}

}  // extern "C"
