// Products whose numbers are in Rust (product), on a CPU: those of an adapter with f32 factors and activations in f32 or
// bf16, and that of few rows with a dense weight.

#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace qtuner {

// Whether the factors and these activations are such. Empty ones are not.
bool are_plain(const at::Tensor& x, const at::Tensor& y, const at::Tensor& a, const at::Tensor& b,
    const std::optional<at::Tensor>& bias);

// Whether both are such matrices of f32, and left right^T has terms.
bool are_plain(const at::Tensor& left, const at::Tensor& right);

// x [m, n] a^T [n, r], in f32.
at::Tensor dots(const at::Tensor& x, const at::Tensor& a);

// The most rows for which the next two are faster than the others.
constexpr int64_t FEW_FOR_NARROW = 4;

// x [m, n] b [n, r], in f32.
at::Tensor narrow(const at::Tensor& x, const at::Tensor& b);

// scale * x^T [n, m] low [m, r], in f32.
at::Tensor outer(const at::Tensor& x, const at::Tensor& low, double scale);

// scale * (left [m, k] right [k, n] + bias), rounded to the dtype, and added to a base of that dtype.
at::Tensor sums(const at::Tensor& left, const at::Tensor& right, double scale, at::ScalarType dtype,
    const std::optional<at::Tensor>& bias = std::nullopt, const std::optional<at::Tensor>& base = std::nullopt);

// Whether few rows meet a large dense weight, of f32 or bf16 like them: at::linear is slower than memory there.
bool is_few_rows(const at::Tensor& x, const at::Tensor& w, const std::optional<at::Tensor>& bias);

// Their round(x [.., n] w [o, n]^T + bias). No gradient is recorded.
at::Tensor dense(const at::Tensor& x, const at::Tensor& w, const std::optional<at::Tensor>& bias);

}  // namespace qtuner
