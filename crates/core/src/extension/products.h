// Products whose numbers are in Rust (product), on a CPU: those of an adapter with f32 factors and activations in f32 or
// bf16, and that of few rows with a dense weight.

#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace qtuner {

// Whether x, of rows, and a [r, n] are such, x a^T has terms, and none of the three is empty.
bool are_plain(const at::Tensor& x, const at::Tensor& a);

// Whether low [m, r], b [n, r] and bias [n] are of f32, y [m, n] is of f32 or bf16, and neither y nor low is empty.
bool are_plain(const at::Tensor& y, const at::Tensor& low, const at::Tensor& b, const std::optional<at::Tensor>& bias);

// Whether both are such matrices of f32, and left right^T has terms.
bool are_plain_factors(const at::Tensor& left, const at::Tensor& right);

// scale * x [m, n] a^T [n, r], in f32.
at::Tensor dots(const at::Tensor& x, const at::Tensor& a, double scale = 1.0);

// The most rows for which the next one is faster than the others.
constexpr int64_t FEW_FOR_NARROW = 4;

// Both gradients of scale * low [m, r] b^T, in f32, where that of the product is x [m, n]: of low, scale * x b, and of b,
// scale * x^T low. What nothing points to is not made.
void narrow(const at::Tensor& x, const at::Tensor& b, const at::Tensor& low, double scale, at::Tensor* grad_low,
    at::Tensor* grad_b);

// Rows for columns, of a matrix of f32.
at::Tensor turned(const at::Tensor& matrix);

// scale * left [m, k] right [k, n], rounded to the dtype.
at::Tensor sums(const at::Tensor& left, const at::Tensor& right, double scale, at::ScalarType dtype);

// base [m, n] + scale * (left [m, k] right [k, n] + bias), the product rounded to the dtype of base, and the sum again. Into
// `where`, which is contiguous and of that dtype; its memory may be that of a contiguous base, of none of the others.
void add_sums(const at::Tensor& base, const at::Tensor& left, const at::Tensor& right, double scale,
    const std::optional<at::Tensor>& bias, const at::Tensor& where);

// Whether few rows meet a large dense weight, of f32 or bf16 like them: at::linear is slower than memory there.
bool is_few_rows(const at::Tensor& x, const at::Tensor& w, const std::optional<at::Tensor>& bias);

// Their round(x [.., n] w [o, n]^T + bias). No gradient is recorded.
at::Tensor dense(const at::Tensor& x, const at::Tensor& w, const std::optional<at::Tensor>& bias);

}  // namespace qtuner
