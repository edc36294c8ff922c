//! The six `WQLinear_GEMM` layers that the real AutoAWQ made: the same weights to the bit, the same products within the
//! bounds of f32 arithmetic.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use qtuner_awq::{WqLinearGemm, pack, unpack};
use qtuner_core::Layer;
use support::{epsilon, error_in_bounds, golden_layers, layer_of, reference_forward, reference_gradient};
use tch::{Kind, Tensor};

const KINDS: [Kind; 3] = [Kind::Float, Kind::BFloat16, Kind::Half];

/// Equal bits; for floats also of zeros' signs.
fn same_bits(left: &Tensor, right: &Tensor) -> bool {
    left.kind() == right.kind()
        && left.size() == right.size()
        && left.contiguous().view_dtype(Kind::Uint8) == right.contiguous().view_dtype(Kind::Uint8)
}

#[test]
fn dequantize_is_bit_equal_to_autoawq() {
    for (name, tensors) in golden_layers() {
        let weight = layer_of(&tensors).dequantize_gemm().unwrap();
        assert!(same_bits(&weight, &tensors["deq"]), "{name}");
    }
}

#[test]
fn codes_and_zero_points_unpack_and_pack_back() {
    for (name, tensors) in golden_layers() {
        for (packed, natural) in [("qweight", "codes"), ("qzeros", "zeros")] {
            let codes = unpack(&tensors[packed]).unwrap();
            assert_eq!(codes, tensors[natural].to_kind(Kind::Int), "{name}.{packed}");
            assert!(same_bits(&pack(&codes).unwrap(), &tensors[packed]), "{name}.{packed}");
        }
    }
}

#[test]
fn a_layer_gives_its_tensors_back_byte_for_byte() {
    for (name, tensors) in golden_layers() {
        let layer = layer_of(&tensors);
        let _ = layer.forward(&tensors["x"].to_kind(Kind::Float)).unwrap();
        let saved = layer.named_tensors();
        assert_eq!(saved.len(), 3 + usize::from(tensors.contains_key("bias")), "{name}");
        for (field, tensor) in saved {
            assert!(same_bits(&tensor, &tensors[field]), "{name}.{field}");
        }
    }
}

#[test]
fn forward_and_gradient_equal_the_f64_reference_of_autoawq() {
    for (name, tensors) in golden_layers() {
        let layer = layer_of(&tensors);
        for kind in KINDS {
            // x and gy are f16 values, which bf16 cannot hold: there the reference is that of the rounded ones.
            let x = tensors["x"].to_kind(kind).set_requires_grad(true);
            let gy = tensors["gy"].to_kind(kind).reshape(tensors["y_ref"].size());
            let y = layer.forward(&x).unwrap();
            y.backward_with(&gy);

            let (mut y_ref, y_magnitudes) = reference_forward(&layer, &x);
            let (mut gx_ref, gx_magnitudes) = reference_gradient(&layer, &gy);
            if kind != Kind::BFloat16 {
                let stored = |ours: &Tensor, theirs: &Tensor| {
                    let theirs = theirs.to_kind(Kind::Double).reshape(ours.size());
                    let close = (ours - &theirs)
                        .abs()
                        .le_tensor(&(theirs.abs() * (2.0 * epsilon(Kind::Float)) + 1e-30));
                    assert!(
                        bool::try_from(close.all()).unwrap(),
                        "{name}: the stored reference is another one"
                    );
                    theirs
                };
                y_ref = stored(&y_ref, &tensors["y_ref"]);
                gx_ref = stored(&gx_ref, &tensors["gx_ref"]);
            }
            let error = error_in_bounds(&y, &y_ref, &y_magnitudes, layer.in_features());
            assert!(error <= 1.0, "{name} {kind:?}: forward is {error} bounds away");
            let error = error_in_bounds(&x.grad(), &gx_ref, &gx_magnitudes, layer.out_features());
            assert!(error <= 1.0, "{name} {kind:?}: the gradient is {error} bounds away");
        }
    }
}

/// `gx = gy` through `y`, which need not be a scalar.
trait BackwardWith {
    fn backward_with(&self, gy: &Tensor);
}

impl BackwardWith for Tensor {
    fn backward_with(&self, gy: &Tensor) {
        // The sum's gradient is one in the dtype of the product, so `gy` arrives as it is.
        (self * gy).sum(self.kind()).backward();
    }
}

#[test]
fn from_dense_is_no_worse_than_autoawq_and_keeps_groups_on_one_side_of_zero() {
    for (name, tensors) in golden_layers() {
        let Some(original) = tensors.get("w_orig") else { continue };
        let group = layer_of(&tensors).group_size();
        let ours = WqLinearGemm::from_dense(original, None, group, Kind::Half).unwrap();
        let error = |weight: &Tensor| {
            let original = original.to_kind(Kind::Double).transpose(0, 1);
            (weight.to_kind(Kind::Double) - original).square().mean(Kind::Double).double_value(&[])
        };
        let (mine, theirs) = (error(&ours.dequantize_gemm().unwrap()), error(&tensors["deq"]));
        assert!(mine <= theirs * 1.001, "{name}: mean square error {mine}, AutoAWQ's {theirs}");
    }

    let one_sided = Tensor::linspace(0.5, 0.6, 8 * 32, (Kind::Float, tch::Device::Cpu)).view([8, 32]);
    let layer = WqLinearGemm::from_dense(&one_sided, None, 32, Kind::Half).unwrap();
    let weight = layer.dequantize_gemm().unwrap().to_kind(Kind::Float).transpose(0, 1);
    // Half a step of a range of [0, 0.6] in 15 steps, and the scale's own rounding.
    let worst = (weight - one_sided).abs().max().double_value(&[]);
    assert!(worst <= 0.5 * 0.6 / 15.0 + 15.0 * 0.04 * epsilon(Kind::Half), "{worst}");
}
