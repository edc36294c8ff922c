//! The ten laws on dense layers, the built-in backend of `qtuner-core`.

use qtuner_core::{Dispatcher, Layer, LayerError, Linear, dense};
use qtuner_testkit::{
    BackendFixture, Case, CheckpointTensors, Corruption, Shapes, ThreadAgreement, Values, laws,
};
use tch::{Kind, Tensor};

struct Dense;

/// The weight of a case, in the dtype of its inputs.
fn weight(case: &Case) -> Tensor {
    let size = [case.out_features, case.in_features];
    let weight = match case.values {
        Values::Ordinary => Case::normal(&size, 0.1),
        // From subnormal numbers of f16 to a few thousand.
        Values::Extreme => {
            Case::normal(&size, 12.0).exp().clamp_max(4096.0) * Case::normal(&size, 1.0).sign()
        }
    };
    weight.to_kind(case.input_kind)
}

impl BackendFixture for Dense {
    fn name(&self) -> &'static str {
        "dense"
    }

    fn input_kinds(&self) -> Vec<Kind> {
        vec![Kind::Float, Kind::BFloat16, Kind::Half]
    }

    fn shapes(&self) -> Shapes {
        Shapes { in_multiple: 1, out_multiple: 1, group_sizes: vec![-1] }
    }

    fn build(&self, case: &Case) -> Result<Box<dyn Layer>, LayerError> {
        let weight = weight(case);
        let bias = case.bias.then(|| Case::normal(&[case.out_features], 1.0).to_kind(case.input_kind));
        Ok(Box::new(Linear::new(weight, bias)?))
    }

    fn load(&self, mut tensors: CheckpointTensors) -> Result<Box<dyn Layer>, LayerError> {
        Ok(Box::new(Linear::new(tensors.take("weight")?, tensors.take_optional("bias"))?))
    }

    fn corruptions(&self) -> Vec<Corruption<'_>> {
        let good = || {
            let layer = Linear::new(Case::normal(&[6, 4], 0.1), Some(Case::normal(&[6], 1.0)));
            CheckpointTensors::of(&layer.expect("the shapes fit"))
        };
        let attempt = |name, tensor, damage: fn(CheckpointTensors) -> CheckpointTensors| {
            Corruption::new(name, move || self.load(damage(good()))).blamed_on(tensor)
        };
        vec![
            attempt("no weight", "weight", |tensors| tensors.without("weight")),
            attempt("weight of three dimensions", "weight", |tensors| {
                tensors.changed("weight", |w| w.unsqueeze(0))
            }),
            attempt("weight of integers", "weight", |tensors| tensors.with_kind("weight", Kind::Int)),
            attempt("weight of fewer outputs than the bias", "bias", |tensors| {
                tensors.truncated("weight", 0)
            }),
            attempt("bias cut off", "bias", |tensors| tensors.truncated("bias", 0)),
            attempt("bias of two dimensions", "bias", |tensors| tensors.changed("bias", |b| b.unsqueeze(0))),
            attempt("bias of another dtype", "bias", |tensors| tensors.with_kind("bias", Kind::Half)),
        ]
    }

    fn dispatcher(&self) -> Dispatcher {
        dense::DISPATCHER
    }

    fn expected_weight(&self, case: &Case) -> Option<Tensor> {
        Some(weight(case))
    }

    fn thread_agreement(&self) -> ThreadAgreement {
        ThreadAgreement::WithinBound
    }

    /// Beyond the usual, one copy of the weight: matrix multiplications of half-precision numbers repack it.
    fn memory_bound(&self, case: &Case, rows: i64) -> i64 {
        let copy = case.in_features * case.out_features * 4;
        let repacked = if case.input_kind == Kind::Float { 0 } else { copy };
        4 * 4 * rows * (case.in_features + case.out_features) + (8 << 20) + repacked
    }
}

laws!(Dense);
