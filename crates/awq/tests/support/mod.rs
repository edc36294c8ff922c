//! The error bounds and the golden layers that several tests of this crate share.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "every test program takes what it needs")]

use qtuner_awq::WqLinearGemm;
use qtuner_core::{Layer, QuantBackend};
use std::collections::BTreeMap;
use std::path::PathBuf;
use tch::{Kind, Tensor};

/// Unit roundoff of a dtype.
pub(crate) fn epsilon(kind: Kind) -> f64 {
    match kind {
        Kind::Half => 2f64.powi(-11),
        Kind::BFloat16 => 2f64.powi(-8),
        _ => 2f64.powi(-24),
    }
}

/// The largest error of `found` against the exact `reference`, in units of what the arithmetic allows.
///
/// `n` products are summed in f32 in some order: an error of at most `n * eps(f32)` times the sum of their magnitudes, to
/// first order. Then the sum is rounded once to the dtype of the result: half a unit, `eps(dtype) * |reference|`. A bf16 kernel
/// may round the weights to bf16 as a dense bf16 layer does: one more `eps(bf16)` of the magnitudes.
pub(crate) fn error_in_bounds(found: &Tensor, reference: &Tensor, magnitudes: &Tensor, n: i64) -> f64 {
    let kind = found.kind();
    let weights = if kind == Kind::BFloat16 { epsilon(kind) } else { 0.0 };
    #[allow(clippy::cast_precision_loss, reason = "a feature count")]
    let accumulated = (n as f64 + 2.0) * epsilon(Kind::Float);
    // Below the normal numbers a dtype's steps stop shrinking; half of one is the rounding error there.
    let smallest = match kind {
        Kind::Half => 2f64.powi(-25),
        _ => 2f64.powi(-150),
    };
    let bound = magnitudes * (accumulated + weights) + reference.abs() * (1.01 * epsilon(kind)) + smallest;
    let found = found.to_kind(Kind::Double);
    // Where the exact result is infinite or no number (an f16 weight overflowed), so must the found one be, alike.
    let special = reference.isfinite().logical_not();
    let alike = found.eq_tensor(reference).logical_or(&found.isnan().logical_and(&reference.isnan()));
    let error = ((&found - reference).abs() / bound).where_scalarother(&special.logical_not(), 0.0);
    let error = error.where_scalarother(&alike.logical_or(&special.logical_not()), f64::INFINITY);
    if error.numel() == 0 { 0.0 } else { error.max().double_value(&[]) }
}

/// `x W + b` in f64 and the sums of `|x| |W| + |b|`, from the layer's dequantized weight.
pub(crate) fn reference_forward(layer: &WqLinearGemm, x: &Tensor) -> (Tensor, Tensor) {
    let weight = layer.dequantize(Kind::Double).unwrap();
    let bias = layer.bias().map(|bias| bias.to_kind(Kind::Double));
    let x = x.detach().to_kind(Kind::Double);
    let y = x.linear(&weight, bias.as_ref());
    let magnitudes = x.abs().linear(&weight.abs(), bias.map(|bias| bias.abs()).as_ref());
    (y, magnitudes)
}

/// `grad_y W^T` in f64 and the sums of the magnitudes.
pub(crate) fn reference_gradient(layer: &WqLinearGemm, grad_y: &Tensor) -> (Tensor, Tensor) {
    let weight = layer.dequantize(Kind::Double).unwrap();
    let grad_y = grad_y.to_kind(Kind::Double);
    (grad_y.matmul(&weight), grad_y.abs().matmul(&weight.abs()))
}

/// The six layers made with the real AutoAWQ: `<layer>.<field>` tensors, by layer.
pub(crate) fn golden_layers() -> BTreeMap<String, BTreeMap<String, Tensor>> {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/awq_layers.safetensors");
    let mut layers = BTreeMap::<String, BTreeMap<String, Tensor>>::new();
    for (name, tensor) in Tensor::read_safetensors(file).unwrap() {
        let (layer, field) = name.split_once('.').unwrap();
        layers.entry(layer.to_owned()).or_default().insert(field.to_owned(), tensor);
    }
    assert_eq!(layers.len(), 6);
    layers
}

/// A golden layer as ours.
pub(crate) fn layer_of(tensors: &BTreeMap<String, Tensor>) -> WqLinearGemm {
    let share = |name: &str| tensors[name].shallow_clone();
    let bias = tensors.get("bias").map(Tensor::shallow_clone);
    WqLinearGemm::from_tensors(share("qweight"), share("qzeros"), share("scales"), bias).unwrap()
}
