// Written so that the compiler makes vectors of it: sixteen lanes side by side, loops of a fixed length.

#include "loops.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

using at::Tensor;
using OptionalTensor = std::optional<Tensor>;

// Compiled for several instruction sets, of which the loader takes the best that the machine has.
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define FOR_EVERY_MACHINE __attribute__((target_clones("arch=skylake-avx512", "arch=haswell", "default")))
#else
#define FOR_EVERY_MACHINE
#endif

namespace {

constexpr int64_t FEW = 8;
constexpr int64_t LANES = 16;
// Numbers of a weight for which another thread pays.
constexpr int64_t GRAIN = 1 << 14;

// The sixteen partial sums of w [width] times x [width].
inline void lanes_of(const float* w, const float* x, int64_t width, float* lanes) {
  float sums[LANES] = {0};
  int64_t i = 0;
  for (; i + LANES <= width; i += LANES) {
    for (int64_t k = 0; k < LANES; ++k) {
      sums[k] += w[i + k] * x[i + k];
    }
  }
  for (; i + LANES / 2 <= width; i += LANES / 2) {
    for (int64_t k = 0; k < LANES / 2; ++k) {
      sums[k] += w[i + k] * x[i + k];
    }
  }
  for (int64_t k = 0; i < width; ++i, ++k) {
    sums[k] += w[i] * x[i];
  }
  std::memcpy(lanes, sums, sizeof sums);
}

// Sums of neighbours: half as many.
template <int64_t COUNT>
inline void halve(const float* from, float* to) {
  for (int64_t i = 0; i < COUNT; ++i) {
    to[i] = from[2 * i] + from[2 * i + 1];
  }
}

// y [count] = w [count, width] x [width]: sixteen rows of w at a time, whose lanes are summed together.
FOR_EVERY_MACHINE
void products(const float* w, const float* x, int64_t count, int64_t width, float* y) {
  for (int64_t first = 0; first < count; first += LANES) {
    const int64_t rows = std::min(LANES, count - first);
    float lanes[LANES * LANES] = {0}, eighths[8 * LANES], fourths[4 * LANES], halves[2 * LANES], sums[LANES];
    for (int64_t row = 0; row < rows; ++row) {
      lanes_of(w + (first + row) * width, x, width, lanes + row * LANES);
    }
    halve<8 * LANES>(lanes, eighths);
    halve<4 * LANES>(eighths, fourths);
    halve<2 * LANES>(fourths, halves);
    halve<LANES>(halves, sums);
    std::memcpy(y + first, sums, static_cast<size_t>(rows) * sizeof(float));
  }
}

inline float wide(uint16_t bf16) {
  const uint32_t bits = static_cast<uint32_t>(bf16) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// To the nearest bf16, ties to even; NaN stays one.
inline uint16_t narrow(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
  return static_cast<uint16_t>((nan ? 0x7fc00000u : bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

FOR_EVERY_MACHINE
void widen(const uint16_t* from, float* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    to[i] = wide(from[i]);
  }
}

FOR_EVERY_MACHINE
void add_bf16(const uint16_t* y, const float* update, const float* bias, float scale, uint16_t* to, int64_t count) {
  if (bias == nullptr) {
    for (int64_t i = 0; i < count; ++i) {
      to[i] = narrow(wide(y[i]) + wide(narrow(scale * update[i])));
    }
  } else {
    for (int64_t i = 0; i < count; ++i) {
      to[i] = narrow(wide(y[i]) + wide(narrow(scale * (update[i] + bias[i]))));
    }
  }
}

FOR_EVERY_MACHINE
void add_f32(const float* y, const float* update, const float* bias, float scale, float* to, int64_t count) {
  if (bias == nullptr) {
    for (int64_t i = 0; i < count; ++i) {
      to[i] = y[i] + scale * update[i];
    }
  } else {
    for (int64_t i = 0; i < count; ++i) {
      to[i] = y[i] + scale * (update[i] + bias[i]);
    }
  }
}

// The same on both threads where that pays; the numbers do not depend on it.
void spread_products(const float* w, const float* x, int64_t count, int64_t width, float* y) {
  // Tasks of whole blocks.
  const int64_t blocks = (count + LANES - 1) / LANES;
  at::parallel_for(0, blocks, std::max<int64_t>(1, GRAIN / (LANES * width)), [&](int64_t begin, int64_t end) {
    const int64_t first = begin * LANES;
    products(w + first * width, x, std::min(end * LANES, count) - first, width, y + first);
  });
}

Tensor to_float(const Tensor& x) {
  if (x.scalar_type() != at::kBFloat16) {
    return x.to(at::kFloat);
  }
  Tensor wide = at::empty(x.sizes(), x.options().dtype(at::kFloat));
  widen(static_cast<const uint16_t*>(x.const_data_ptr()), wide.mutable_data_ptr<float>(), x.numel());
  return wide;
}

bool is_plain(const Tensor& tensor) {
  return tensor.is_cpu() && tensor.is_contiguous();
}

bool is_plain_f32(const Tensor& tensor) {
  return is_plain(tensor) && tensor.scalar_type() == at::kFloat;
}

}  // namespace

namespace qtuner {

bool are_few_rows(const Tensor& rows, const Tensor& weight) {
  const auto dtype = rows.scalar_type();
  return rows.size(0) <= FEW && is_plain(rows) && weight.dim() == 2 && is_plain_f32(weight) &&
      (dtype == at::kFloat || dtype == at::kBFloat16 || dtype == at::kHalf);
}

Tensor few_rows_product(const Tensor& left, const Tensor& right) {
  TORCH_CHECK(left.size(1) == right.size(1), "an adapter's weight is ", right.sizes(), " beside ", left.sizes());
  const int64_t depth = right.size(1), count = right.size(0);
  const Tensor wide = to_float(left);
  Tensor product = at::empty({left.size(0), count}, right.options());
  for (int64_t row = 0; row < left.size(0); ++row) {
    spread_products(right.const_data_ptr<float>(), wide.const_data_ptr<float>() + row * depth, count, depth,
        product.mutable_data_ptr<float>() + row * count);
  }
  return product;
}

bool can_add_update(const Tensor& y, const Tensor& update, const OptionalTensor& bias) {
  return is_plain(y) && (y.scalar_type() == at::kBFloat16 || y.scalar_type() == at::kFloat) && is_plain_f32(update) &&
      y.sizes() == update.sizes() && (!bias.has_value() || (is_plain_f32(*bias) && bias->numel() == y.size(1)));
}

void add_update(const Tensor& y, const Tensor& update, const OptionalTensor& bias, double scaling, const Tensor& sum) {
  const int64_t out = y.size(1);
  const auto scale = static_cast<float>(scaling);
  const float* offset = bias.has_value() ? bias->const_data_ptr<float>() : nullptr;
  const float* from = update.const_data_ptr<float>();
  const auto loop = [&](auto add, const auto* y, auto* to) {
    at::parallel_for(0, update.size(0), std::max<int64_t>(1, GRAIN / std::max<int64_t>(1, out)),
        [&](int64_t begin, int64_t end) {
          for (int64_t row = begin; row < end; ++row) {
            add(y + row * out, from + row * out, offset, scale, to + row * out, out);
          }
        });
  };
  if (y.scalar_type() == at::kFloat) {
    loop(add_f32, y.const_data_ptr<float>(), sum.mutable_data_ptr<float>());
  } else {
    loop(add_bf16, static_cast<const uint16_t*>(y.const_data_ptr()), static_cast<uint16_t*>(sum.mutable_data_ptr()));
  }
}

}  // namespace qtuner
