//! The fixture and the dispatcher of the toy backend.

use crate::fault::Fault;
use crate::toy::Toy;
use qtuner_core::registry::{Claim, DispatchError};
use qtuner_core::{
    Dispatcher, InitLoraWeights, Layer, LayerError, LoraLayer, LoraLinear, LoraOptions, dense, source,
};
use qtuner_testkit::{BackendFixture, Case, CheckpointTensors, Corruption, Shapes, ThreadAgreement, Values};
use tch::{Device, Kind, Tensor};

const DISPATCHER: Dispatcher = Dispatcher::new("toy", source!(), claims, check, wrap);

fn claims(layer: &dyn Layer) -> Claim {
    if layer.innermost().downcast_ref::<Toy>().is_some() { Claim::Yes } else { Claim::No }
}

fn check(layer: &dyn Layer, options: &LoraOptions) -> Result<(), DispatchError> {
    dense::DISPATCHER.check(layer, options)
}

fn wrap(layer: &dyn Layer, name: &str, options: &LoraOptions) -> Result<Box<dyn LoraLayer>, DispatchError> {
    let faulty = layer.downcast_ref::<Toy>().is_some_and(|toy| toy.fault == Fault::StartsTrained);
    let options = if faulty { options.clone().with_init(InitLoraWeights::False) } else { options.clone() };
    Ok(Box::new(LoraLinear::new(layer.shallow_clone(), name, options)?))
}

/// Makes toys with a fault, or without.
pub(crate) struct ToyFixture(pub(crate) Fault);

fn integers(low: i64, high: i64, size: &[i64]) -> Tensor {
    Tensor::randint_low(low, high, size, (Kind::Int64, Device::Cpu))
}

impl ToyFixture {
    fn read(&self, in_features: i64, mut tensors: CheckpointTensors) -> Result<Box<dyn Layer>, LayerError> {
        let (qweight, scales) = (tensors.take("qweight")?, tensors.take("scales")?);
        Ok(Box::new(Toy::new(self.0, in_features, qweight, scales, tensors.take_optional("bias"))?))
    }
}

/// Input features a block in every toy.
const BLOCK: i64 = 16;

impl BackendFixture for ToyFixture {
    fn name(&self) -> &'static str {
        "toy"
    }

    fn input_kinds(&self) -> Vec<Kind> {
        vec![Kind::Float, Kind::BFloat16]
    }

    fn shapes(&self) -> Shapes {
        Shapes { in_multiple: BLOCK, out_multiple: 1, group_sizes: vec![BLOCK] }
    }

    fn build(&self, case: &Case) -> Result<Box<dyn Layer>, LayerError> {
        let qweight = integers(-127, 128, &[case.out_features, case.groups()]).to_kind(Kind::Int8);
        let scales = match case.values {
            Values::Ordinary => Case::normal(&[case.out_features], 0.002),
            Values::Extreme => {
                let edges = Tensor::from_slice(&[0.0f32, -0.0, 1e-40, -1e-30, 1e20, -3.0]);
                edges.index_select(0, &integers(0, 6, &[case.out_features]))
            }
        };
        let bias = case.bias.then(|| Case::normal(&[case.out_features], 1.0));
        Ok(Box::new(Toy::new(self.0, case.in_features, qweight, scales, bias)?))
    }

    fn load(&self, tensors: CheckpointTensors) -> Result<Box<dyn Layer>, LayerError> {
        let blocks = tensors.tensors().iter().find(|(name, _)| name == "qweight");
        let blocks = blocks.and_then(|(_, qweight)| qweight.size().get(1).copied()).unwrap_or(1);
        self.read(blocks * BLOCK, tensors)
    }

    fn corruptions(&self) -> Vec<Corruption<'_>> {
        let good = || {
            let toy = Toy::new(
                self.0,
                3 * BLOCK,
                integers(-127, 128, &[6, 3]).to_kind(Kind::Int8),
                Case::normal(&[6], 0.002),
                Some(Case::normal(&[6], 1.0)),
            );
            CheckpointTensors::of(&toy.expect("the shapes fit"))
        };
        vec![
            Corruption::new("no scales", move || self.load(good().without("scales"))).blamed_on("scales"),
            Corruption::new("scales cut off", move || self.load(good().truncated("scales", 0)))
                .blamed_on("scales"),
            Corruption::new("codes of int32", move || self.load(good().with_kind("qweight", Kind::Int)))
                .blamed_on("qweight"),
            Corruption::new("codes of a wider layer", move || self.read(4 * BLOCK + 1, good()))
                .blamed_on("qweight"),
        ]
    }

    fn thread_agreement(&self) -> ThreadAgreement {
        ThreadAgreement::WithinBound
    }

    fn dispatcher(&self) -> Dispatcher {
        DISPATCHER
    }
}
