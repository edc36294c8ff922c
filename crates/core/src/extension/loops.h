// Loops over memory in place of several of libtorch's operators, where these take longer than the numbers do: products for
// a few rows of x, as when text is generated, and the sum of a layer's output and an adapter's.

#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace qtuner {

// Whether these are few rows [rows, width] beside an f32 weight, all in memory as the loops want them.
bool are_few_rows(const at::Tensor& rows, const at::Tensor& weight);

// x [rows, in] A^T -> f32 [rows, r].
at::Tensor few_rows_low_rank(const at::Tensor& x, const at::Tensor& a);

// low [rows, r] B^T -> f32 [rows, out].
at::Tensor few_rows_update(const at::Tensor& low, const at::Tensor& b);

// Whether `add_update` takes these.
bool can_add_update(const at::Tensor& y, const at::Tensor& update, const std::optional<at::Tensor>& bias);

// sum = y + cast(scaling * (update + bias)), all [rows, out]; y and sum of one dtype, bf16 or f32.
void add_update(const at::Tensor& y, const at::Tensor& update, const std::optional<at::Tensor>& bias, double scaling,
    const at::Tensor& sum);

}  // namespace qtuner
