// Shapes, memory and threads of products; their numbers are in Rust (product), called with plain pointers.

#include "products.h"

#include <ATen/ATen.h>
#include <qtuner/tasks.h>

#include <algorithm>
#include <cstdint>

using at::Tensor;
using qtuner::Tasks;
using OptionalTensor = std::optional<Tensor>;

extern "C" {
// Mirrored in product/mod.rs, which says what they mean.
struct QtunerCoreMatrix {
  const void* data;
  int32_t dtype;
  int64_t strides[2];
};
struct QtunerCoreDots {
  const void* x;
  int32_t x_dtype;
  const float* a;
  float* low;
  float scale;
  int64_t m, n, r, rows, columns;
};
struct QtunerCoreSums {
  QtunerCoreMatrix left, right;
  const float* bias;
  const void* base;
  void* y;
  int32_t dtype;
  float scale;
  int64_t m, k, n;
};
struct QtunerCoreNarrow {
  const void* x;
  int32_t x_dtype;
  const float *b, *low;
  float *grad_low, *grad_b;
  float scale;
  int64_t m, n, r, rows;
};
struct QtunerCoreTurn {
  const float* matrix;
  float* turned;
  int64_t n, r, side;
};
struct QtunerCoreDense {
  const float* x;
  const void *w, *bias;
  void* y;
  int32_t dtype;
  int64_t m, n, o, rows;
};
// Written in Rust. They return 0, or 1 after a panic.
int qtuner_core_dots(const QtunerCoreDots* call, int64_t begin, int64_t end);
int qtuner_core_sums(const QtunerCoreSums* call, int64_t begin, int64_t end);
int qtuner_core_narrow(const QtunerCoreNarrow* call, int64_t begin, int64_t end);
int qtuner_core_turn(const QtunerCoreTurn* call, int64_t begin, int64_t end);
int qtuner_core_dense(const QtunerCoreDense* call, int64_t begin, int64_t end);
int64_t qtuner_core_sums_tasks(int64_t m, int64_t n);
}

namespace {

// Tasks of dot products have so many rows of x, or, with few rows in all, so many columns.
constexpr int64_t DOT_ROWS = 24;
constexpr int64_t DOT_COLUMNS = 1024;
constexpr int64_t FEW_FOR_DOTS = 8;
// Short rows in a task.
constexpr int64_t NARROW_ROWS = 256;
// Rows and columns that a task turns.
constexpr int64_t TURNED_SIDE = 128;
// The most rows that a dense weight is read for at once, and the least size for which that pays.
constexpr int64_t FEW_FOR_DENSE = 4;
constexpr int64_t LARGE = 1 << 18;
// Rows of a dense weight in a task.
constexpr int64_t DENSE_ROWS = 64;

QtunerCoreMatrix matrix(const Tensor& tensor) {
  return {tensor.const_data_ptr(), static_cast<int32_t>(tensor.scalar_type()), {tensor.stride(0), tensor.stride(1)}};
}

bool is_plain(const Tensor& tensor, at::ScalarType dtype) {
  return tensor.is_cpu() && tensor.layout() == at::kStrided && tensor.scalar_type() == dtype && !tensor.is_conj() &&
      !tensor.is_neg();
}

int64_t ceil_div(int64_t count, int64_t size) {
  return (count + size - 1) / size;
}

// The sum of blocks of m rows, in their order.
Tensor added_up(const Tensor& blocks, int64_t m) {
  float* sum = blocks.mutable_data_ptr<float>();
  const int64_t size = m * blocks.size(1);
  for (int64_t at = size; at < blocks.numel(); ++at) {
    sum[at % size] += sum[at];
  }
  return blocks.narrow(0, 0, m);
}

bool is_activation(const Tensor& tensor) {
  return is_plain(tensor, tensor.scalar_type() == at::kBFloat16 ? at::kBFloat16 : at::kFloat);
}

void run_sums(const Tensor& left, const Tensor& right, double scale, const OptionalTensor& bias, const void* base,
    const Tensor& y) {
  const int64_t m = left.size(0), k = left.size(1), n = right.size(1);
  const OptionalTensor offset = bias.has_value() ? OptionalTensor(bias->contiguous()) : bias;
  const QtunerCoreSums call{matrix(left), matrix(right), offset ? offset->const_data_ptr<float>() : nullptr, base,
      y.mutable_data_ptr(), static_cast<int32_t>(y.scalar_type()), static_cast<float>(scale), m, k, n};
  const int64_t tasks = qtuner_core_sums_tasks(m, n);
  Tasks<QtunerCoreSums>(call, qtuner_core_sums).spread(tasks, m * k * n / std::max<int64_t>(1, tasks));
}

}  // namespace

namespace qtuner {

bool are_plain(const Tensor& x, const Tensor& a) {
  return is_activation(x) && is_plain(a, at::kFloat) && x.dim() == 2 && a.dim() == 2 && x.size(1) == a.size(1) &&
      x.numel() > 0 && a.numel() > 0;
}

bool are_plain(const Tensor& y, const Tensor& low, const Tensor& b, const OptionalTensor& bias) {
  return is_activation(y) && is_plain(low, at::kFloat) && is_plain(b, at::kFloat) && y.dim() == 2 && low.dim() == 2 &&
      b.dim() == 2 && y.size(0) == low.size(0) && y.size(1) == b.size(0) && low.size(1) == b.size(1) && y.numel() > 0 &&
      low.numel() > 0 &&
      (!bias.has_value() || (is_plain(*bias, at::kFloat) && bias->dim() == 1 && bias->size(0) == b.size(0)));
}

bool are_plain_factors(const Tensor& left, const Tensor& right) {
  return is_plain(left, at::kFloat) && is_plain(right, at::kFloat) && left.dim() == 2 && right.dim() == 2 &&
      left.size(1) == right.size(1) && left.numel() > 0 && right.numel() > 0;
}

Tensor dots(const Tensor& x, const Tensor& a, double scale) {
  const Tensor left = x.contiguous(), right = a.contiguous();
  const int64_t m = left.size(0), n = left.size(1), r = right.size(0);
  const bool few = m <= FEW_FOR_DOTS;
  const int64_t rows = few ? m : DOT_ROWS, columns = few ? DOT_COLUMNS : n;
  const int64_t down = ceil_div(m, rows), across = ceil_div(n, columns);
  Tensor low = at::empty({across * m, r}, right.options());
  const QtunerCoreDots call{left.const_data_ptr(), static_cast<int32_t>(left.scalar_type()),
      right.const_data_ptr<float>(), low.mutable_data_ptr<float>(), static_cast<float>(scale), m, n, r, rows, columns};
  Tasks<QtunerCoreDots>(call, qtuner_core_dots).spread(down * across, rows * std::min(columns, n) * r);
  if (across == 1) {
    return low;
  }
  return added_up(low, m);
}

void narrow(const Tensor& x, const Tensor& b, const Tensor& low, double scale, Tensor* grad_low, Tensor* grad_b) {
  const Tensor left = x.contiguous(), right = b.contiguous(), kept = low.contiguous();
  const int64_t m = left.size(0), n = left.size(1), r = right.size(1);
  const int64_t tasks = ceil_div(n, NARROW_ROWS);
  const auto target = [&](Tensor* gradient, int64_t rows) -> float* {
    if (gradient == nullptr) {
      return nullptr;
    }
    *gradient = at::empty({rows, r}, right.options());
    return gradient->mutable_data_ptr<float>();
  };
  const QtunerCoreNarrow call{left.const_data_ptr(), static_cast<int32_t>(left.scalar_type()),
      right.const_data_ptr<float>(), kept.const_data_ptr<float>(), target(grad_low, tasks * m), target(grad_b, n),
      static_cast<float>(scale), m, n, r, NARROW_ROWS};
  Tasks<QtunerCoreNarrow>(call, qtuner_core_narrow).spread(tasks, 2 * m * NARROW_ROWS * r);
  if (grad_low != nullptr) {
    *grad_low = added_up(*grad_low, m);
  }
}

Tensor turned(const Tensor& matrix) {
  const Tensor from = matrix.contiguous();
  Tensor turned = at::empty({from.size(1), from.size(0)}, from.options());
  const int64_t n = from.size(0), r = from.size(1);
  const QtunerCoreTurn call{from.const_data_ptr<float>(), turned.mutable_data_ptr<float>(), n, r, TURNED_SIDE};
  Tasks<QtunerCoreTurn>(call, qtuner_core_turn).spread(ceil_div(n, TURNED_SIDE) * ceil_div(r, TURNED_SIDE),
      std::min(n, TURNED_SIDE) * std::min(r, TURNED_SIDE));
  return turned;
}

Tensor sums(const Tensor& left, const Tensor& right, double scale, at::ScalarType dtype) {
  Tensor y = at::empty({left.size(0), right.size(1)}, left.options().dtype(dtype));
  run_sums(left, right, scale, std::nullopt, nullptr, y);
  return y;
}

void add_sums(const Tensor& base, const Tensor& left, const Tensor& right, double scale, const OptionalTensor& bias,
    const Tensor& where) {
  const Tensor before = base.contiguous();
  run_sums(left, right, scale, bias, before.const_data_ptr(), where);
}

bool is_few_rows(const Tensor& x, const Tensor& w, const OptionalTensor& bias) {
  const auto dtype = w.scalar_type();
  return is_activation(w) && is_plain(x, dtype) && w.dim() == 2 && w.is_contiguous() && w.numel() >= LARGE &&
      x.dim() > 0 && x.size(-1) == w.size(1) && x.numel() > 0 && x.numel() <= FEW_FOR_DENSE * w.size(1) &&
      (!bias.has_value() || (is_plain(*bias, dtype) && bias->dim() == 1 && bias->size(0) == w.size(0)));
}

Tensor dense(const Tensor& x, const Tensor& w, const OptionalTensor& bias) {
  const Tensor wide = x.to(at::kFloat).contiguous();
  const OptionalTensor offset = bias.has_value() ? OptionalTensor(bias->contiguous()) : bias;
  auto sizes = x.sizes().vec();
  sizes.back() = w.size(0);
  Tensor y = at::empty(sizes, x.options());
  const QtunerCoreDense call{wide.const_data_ptr<float>(), w.const_data_ptr(),
      offset ? offset->const_data_ptr() : nullptr, y.mutable_data_ptr(), static_cast<int32_t>(w.scalar_type()),
      x.numel() / w.size(1), w.size(1), w.size(0), DENSE_ROWS};
  Tasks<QtunerCoreDense>(call, qtuner_core_dense).spread(ceil_div(w.size(0), DENSE_ROWS), DENSE_ROWS * x.numel());
  return y;
}

}  // namespace qtuner
