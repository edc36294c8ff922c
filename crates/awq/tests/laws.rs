//! The ten laws on the AWQ layers of `qtuner-awq`, on every instruction set that this machine has.

use qtuner_awq::{AwqError, DISPATCHER, WqLinearGemm, instruction_sets, pack};
use qtuner_core::{Dispatcher, Layer, LayerError};
use qtuner_testkit::{
    BackendFixture, Case, CheckpointTensors, Corruption, Shapes, Values, laws, uphold_with,
};
use tch::{Device, Kind, Tensor};

/// Layers with words of a row side by side, or, where groups are multiples of 32, those of a column.
enum Awq {
    ByRow,
    ByColumn,
}

impl Awq {
    /// A layer with its words in this order.
    fn layer(
        &self,
        qweight: Tensor,
        qzeros: Tensor,
        scales: Tensor,
        bias: Option<Tensor>,
    ) -> Result<WqLinearGemm, AwqError> {
        let qweight = match self {
            Self::ByColumn if qweight.dim() == 2 => qweight.transpose(0, 1).contiguous().transpose(0, 1),
            _ => qweight,
        };
        WqLinearGemm::from_tensors(qweight, qzeros, scales, bias)
    }
}

/// The parts of a layer before they are packed.
struct Parts {
    /// `[in, out]`, 0 to 15.
    codes: Tensor,
    /// `[groups, out]`, 0 to 15.
    zeros: Tensor,
    /// `[groups, out]`.
    scales: Tensor,
    bias: Option<Tensor>,
}

fn integers(high: i64, size: [i64; 2]) -> Tensor {
    Tensor::randint(high, size, (Kind::Int64, Device::Cpu))
}

impl Parts {
    fn of(case: &Case) -> Self {
        let groups = [case.groups(), case.out_features];
        let scales_kind =
            [Kind::Half, Kind::BFloat16, Kind::Float][usize::try_from(case.seed % 3).unwrap_or(0)];
        let (zeros, scales) = match case.values {
            Values::Ordinary => {
                (integers(16, groups), Tensor::rand(groups, (Kind::Float, Device::Cpu)) * 0.02 + 0.001)
            }
            Values::Extreme => {
                // f16's largest and smallest numbers, normal and subnormal, of both signs.
                let edges = [65504.0f32, -65504.0, 6e-8, -6e-8, 3e-5, 6.1e-5, -0.02, 0.0, -0.0];
                let chosen = integers(9, groups).view([-1]);
                (integers(2, groups) * 15, Tensor::from_slice(&edges).index_select(0, &chosen).view(groups))
            }
        };
        Self {
            codes: integers(16, [case.in_features, case.out_features]),
            zeros,
            scales: scales.to_kind(scales_kind),
            bias: case.bias.then(|| Case::normal(&[case.out_features], 1.0).to_kind(scales_kind)),
        }
    }

    fn layer(self, awq: &Awq) -> Result<WqLinearGemm, AwqError> {
        let packed = |codes: &Tensor| pack(&codes.to_kind(Kind::Int));
        awq.layer(packed(&self.codes)?, packed(&self.zeros)?, self.scales, self.bias)
    }
}

/// A layer of two groups.
fn good_layer(awq: &Awq) -> WqLinearGemm {
    let case = Case {
        in_features: 64,
        out_features: 24,
        group_size: 32,
        bias: true,
        values: Values::Ordinary,
        input_kind: Kind::Float,
        seed: 0,
    };
    Parts::of(&case).layer(awq).expect("the shapes fit")
}

impl BackendFixture for Awq {
    fn name(&self) -> &'static str {
        "awq"
    }

    fn input_kinds(&self) -> Vec<Kind> {
        vec![Kind::Float, Kind::BFloat16, Kind::Half]
    }

    fn shapes(&self) -> Shapes {
        Shapes { in_multiple: 1, out_multiple: 8, group_sizes: vec![128, 32, -1, 64, 16, 1, 3, 5, 24] }
    }

    fn build(&self, case: &Case) -> Result<Box<dyn Layer>, LayerError> {
        let layer = Parts::of(case).layer(self)?;
        layer.expect_group_size(case.group_size)?;
        Ok(Box::new(layer))
    }

    fn load(&self, mut tensors: CheckpointTensors) -> Result<Box<dyn Layer>, LayerError> {
        let (qweight, qzeros, scales) =
            (tensors.take("qweight")?, tensors.take("qzeros")?, tensors.take("scales")?);
        Ok(Box::new(self.layer(qweight, qzeros, scales, tensors.take_optional("bias"))?))
    }

    fn corruptions(&self) -> Vec<Corruption<'_>> {
        let attempt = |name, tensor, damage: fn(CheckpointTensors) -> CheckpointTensors| {
            Corruption::new(name, move || self.load(damage(CheckpointTensors::of(&good_layer(self)))))
                .blamed_on(tensor)
        };
        let promised = |group_size| {
            let layer = good_layer(self);
            layer.expect_group_size(group_size)?;
            Ok::<Box<dyn Layer>, LayerError>(Box::new(layer))
        };
        vec![
            attempt("no qweight", "qweight", |tensors| tensors.without("qweight")),
            attempt("no qzeros", "qzeros", |tensors| tensors.without("qzeros")),
            attempt("no scales", "scales", |tensors| tensors.without("scales")),
            attempt("qweight of int64", "qweight", |tensors| tensors.with_kind("qweight", Kind::Int64)),
            attempt("qweight of three dimensions", "qweight", |tensors| {
                tensors.changed("qweight", |t| t.unsqueeze(0))
            }),
            attempt("qweight without inputs", "qweight", |tensors| {
                tensors.changed("qweight", |t| t.narrow(0, 0, 0))
            }),
            attempt("qweight without outputs", "qweight", |tensors| {
                tensors.changed("qweight", |t| t.narrow(1, 0, 0))
            }),
            attempt("qweight one row short", "scales", |tensors| tensors.truncated("qweight", 0)),
            attempt("qweight one word short", "scales", |tensors| tensors.truncated("qweight", 1)),
            attempt("qzeros one group short", "qzeros", |tensors| tensors.truncated("qzeros", 0)),
            attempt("qzeros one word short", "qzeros", |tensors| tensors.truncated("qzeros", 1)),
            attempt("qzeros unpacked", "qzeros", |tensors| {
                tensors.changed("qzeros", |t| t.repeat_interleave_self_int(8, 1, None))
            }),
            attempt("scales one group short", "qzeros", |tensors| tensors.truncated("scales", 0)),
            attempt("scales one output short", "scales", |tensors| tensors.truncated("scales", 1)),
            attempt("scales of integers", "scales", |tensors| tensors.with_kind("scales", Kind::Int)),
            attempt("scales of f64", "scales", |tensors| tensors.with_kind("scales", Kind::Double)),
            attempt("scales transposed", "scales", |tensors| {
                tensors.changed("scales", |t| t.transpose(0, 1))
            }),
            attempt("infinite scales", "scales", |tensors| tensors.changed("scales", |t| t * f64::INFINITY)),
            attempt("bias one output short", "bias", |tensors| tensors.truncated("bias", 0)),
            attempt("bias of integers", "bias", |tensors| tensors.with_kind("bias", Kind::Int)),
            attempt("bias of NaN", "bias", |tensors| tensors.changed("bias", |t| t * f64::NAN)),
            Corruption::new("another group size promised", move || promised(64)),
            Corruption::new("one group promised", move || promised(-1)),
            Corruption::new("no group size promised", move || promised(0)),
        ]
    }

    fn dispatcher(&self) -> Dispatcher {
        DISPATCHER
    }

    fn expected_weight(&self, case: &Case) -> Option<Tensor> {
        let Parts { codes, zeros, scales, .. } = Parts::of(case);
        let spread =
            |tensor: &Tensor| tensor.repeat_interleave_self_int(case.group(), 0, None).to_kind(Kind::Double);
        let exact = (codes.to_kind(Kind::Double) - spread(&zeros)) * spread(&scales);
        Some(exact.to_kind(scales.kind()).transpose(0, 1).contiguous())
    }
}

laws!(Awq::ByRow);
laws!(mod laws_by_column, Awq::ByColumn);

/// The laws above run on the set that this process has chosen; here they run on every other one, in a process each.
#[test]
fn every_instruction_set_obeys_the_laws() {
    const VARIABLE: &str = "QTUNER_ISA";
    let available = instruction_sets();
    let chosen = std::env::var(VARIABLE).ok().or_else(|| available.last().cloned());
    for set in available.iter().filter(|set| Some(*set) != chosen.as_ref()) {
        uphold_with(VARIABLE, set, "laws");
    }
}
