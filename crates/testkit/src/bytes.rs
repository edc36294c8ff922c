//! Tensors compared bit for bit.

use tch::{Kind, Tensor};

/// The bytes of a tensor, in row-major order.
pub(crate) fn bytes(tensor: &Tensor) -> Vec<u8> {
    if tensor.numel() == 0 {
        return Vec::new();
    }
    let flat = tensor.detach().contiguous().view([-1]).view_dtype(Kind::Uint8);
    Vec::try_from(&flat).expect("a flat tensor of bytes is a vector of bytes")
}

/// Whether dtype, shape and bytes are the same.
pub(crate) fn same_values(left: &Tensor, right: &Tensor) -> bool {
    left.kind() == right.kind() && left.size() == right.size() && bytes(left) == bytes(right)
}

/// Whether dtype, shape and values are the same, where `-0.0` is `0.0` and NaN is NaN: adding zeros may change these.
pub(crate) fn equal_values(left: &Tensor, right: &Tensor) -> bool {
    left.kind() == right.kind()
        && left.size() == right.size()
        && all(&left.eq_tensor(right).logical_or(&left.isnan().logical_and(&right.isnan())))
}

/// Whether every element is true.
pub(crate) fn all(truth: &Tensor) -> bool {
    truth.all().int64_value(&[]) != 0
}
