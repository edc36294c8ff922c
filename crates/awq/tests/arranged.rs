//! Layers whose codes were brought into another order: the same weights and products, whichever order it is.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use qtuner_awq::{WqLinearGemm, instruction_sets};
use qtuner_core::{Layer, Linear, LoraConfig, ModuleTree, QuantBackend, Slot, inject_adapter, model};
use support::{error_in_bounds, golden_layers, layer_of, reference_forward, reference_gradient};
use tch::{Device, Kind, Tensor};

const KINDS: [Kind; 3] = [Kind::Float, Kind::BFloat16, Kind::Half];

fn layer(group_size: i64) -> WqLinearGemm {
    tch::manual_seed(5);
    let weight = Tensor::randn([40, 192], (Kind::Float, Device::Cpu));
    WqLinearGemm::from_dense(&weight, None, group_size, Kind::Half).unwrap()
}

/// Whether this process looks weights up sixteen at a time.
fn looks_up() -> bool {
    let chosen = std::env::var("QTUNER_ISA").ok().or_else(|| instruction_sets().last().cloned());
    chosen.as_deref() == Some("avx512")
}

fn is_column_major(layer: &WqLinearGemm) -> bool {
    layer.qweight().stride() == [1, layer.in_features()]
}

#[test]
fn codes_become_column_major_where_weights_are_looked_up() {
    for (kind, group_size) in [(Kind::Float, 64), (Kind::Half, 96), (Kind::Half, -1)] {
        let arranged = layer(group_size).into_arranged_for(kind).unwrap();
        assert_eq!(is_column_major(&arranged), looks_up(), "{kind:?}, group {group_size}");
        assert!(arranged.arranged_for(kind).unwrap().is_none());
        // And back again.
        let rows = arranged.into_arranged_for(Kind::BFloat16).unwrap();
        assert!(rows.qweight().is_contiguous());
    }
    // bf16 meets codes, not weights; groups of 32 do not repay it, and those of no multiple of that have no whole blocks.
    assert!(layer(64).arranged_for(Kind::BFloat16).unwrap().is_none());
    assert!(layer(32).arranged_for(Kind::Half).unwrap().is_none());
    assert!(layer(48).arranged_for(Kind::Half).unwrap().is_none());
}

#[test]
fn an_arranged_layer_has_the_same_tensors_and_the_same_products_in_every_dtype() {
    for (name, tensors) in golden_layers() {
        let original = layer_of(&tensors);
        // In both orders, whatever this machine prefers.
        let columns = original.qweight().transpose(0, 1).contiguous().transpose(0, 1);
        let (qzeros, scales) = (original.qzeros().shallow_clone(), original.scales().shallow_clone());
        let arranged = WqLinearGemm::from_tensors(columns, qzeros, scales, original.bias()).unwrap();
        for ((field, one), (_, other)) in original.named_tensors().iter().zip(arranged.named_tensors()) {
            assert!(*one == other && one.kind() == other.kind(), "{name}.{field}");
        }
        assert_eq!(original.dequantize_gemm().unwrap(), arranged.dequantize_gemm().unwrap(), "{name}");
        for kind in KINDS {
            for rows in [1, 3, 8, 13, 20, 70] {
                let x =
                    Tensor::randn([rows, arranged.in_features()], (Kind::Float, Device::Cpu)).to_kind(kind);
                let (y, magnitudes) = reference_forward(&original, &x);
                let error = error_in_bounds(&arranged.forward(&x).unwrap(), &y, &magnitudes, x.size()[1]);
                assert!(error <= 1.0, "{name}, {rows} rows of {kind:?}: forward is {error} bounds away");
                let gy =
                    Tensor::randn([rows, arranged.out_features()], (Kind::Float, Device::Cpu)).to_kind(kind);
                let (gx, magnitudes) = reference_gradient(&original, &gy);
                let error =
                    error_in_bounds(&arranged.grad_input(&gy).unwrap(), &gx, &magnitudes, gy.size()[1]);
                assert!(error <= 1.0, "{name}, {rows} rows of {kind:?}: the gradient is {error} bounds away");
            }
        }
    }
}

#[derive(ModuleTree)]
struct Model {
    packed: Slot,
    odd: Slot,
    dense: Slot,
}

impl Model {
    fn new() -> Self {
        let dense = Linear::new(Tensor::ones([8, 192], (Kind::Float, Device::Cpu)), None).unwrap();
        Self { packed: layer(64).into(), odd: layer(48).into(), dense: dense.into() }
    }

    /// Whether the first layer is arranged.
    fn is_arranged(&self) -> bool {
        is_column_major(self.packed.layer().innermost().downcast_ref().unwrap())
    }
}

#[test]
fn a_models_layers_are_arranged_and_those_under_a_tuner_are_not() {
    let mut arranged = Model::new();
    assert_eq!(model::arrange_for(&mut arranged, Kind::Half).unwrap(), usize::from(looks_up()));
    assert_eq!(arranged.is_arranged(), looks_up());
    assert_eq!(model::arrange_for(&mut arranged, Kind::Half).unwrap(), 0);
    inject_adapter(&mut arranged, &LoraConfig::new("all-linear").with_rank(2), "default").unwrap();
    let x = Tensor::randn([2, 192], (Kind::Float, Device::Cpu));
    let y = arranged.packed.forward(&x).unwrap();

    let mut wrapped = Model::new();
    inject_adapter(&mut wrapped, &LoraConfig::new("all-linear").with_rank(2), "default").unwrap();
    assert_eq!(model::arrange_for(&mut wrapped, Kind::Half).unwrap(), 0);
    assert!(!wrapped.is_arranged());
    assert!(wrapped.packed.forward(&x).unwrap().allclose(&y, 1e-5, 1e-5, false));
}
