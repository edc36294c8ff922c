// Loops over memory in place of several of libtorch's operators, where these take longer than the numbers do: products for
// a few rows of x, as when text is generated, and the sum of a layer's output and an adapter's.

#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace qtuner {

// Whether these are few rows [rows, width] beside an f32 weight, all in memory as the loops want them.
bool are_few_rows(const at::Tensor& rows, const at::Tensor& weight);

// left [rows, k] right^T -> f32 [rows, n], for right [n, k].
at::Tensor few_rows_product(const at::Tensor& left, const at::Tensor& right);

// Whether `add_update` takes these.
bool can_add_update(const at::Tensor& y, const at::Tensor& update, const std::optional<at::Tensor>& bias);

// sum = y + cast(scaling * (update + bias)), all [rows, out]; y and sum of one dtype, bf16 or f32.
void add_update(const at::Tensor& y, const at::Tensor& update, const std::optional<at::Tensor>& bias, double scaling,
    const at::Tensor& sum);

}  // namespace qtuner
