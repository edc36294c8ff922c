//! Layers with adapters, and a model of two of them.

use crate::bytes::bytes;
use crate::run::{Broken, Verdict};
use crate::{BackendFixture, Case};
use qtuner_core::{Layer, LoraLayer, LoraOptions, ModuleTree, Registry, Slot};
use std::fmt::Write;
use tch::{Device, Kind, Tensor};

/// The layer of `case`.
pub(crate) fn build(fixture: &dyn BackendFixture, case: &Case) -> Verdict<Box<dyn Layer>> {
    tch::manual_seed(case.seed);
    fixture.build(case).map_err(|error| Broken::from(error).during("building a layer"))
}

/// A registry of the backend alone.
pub(crate) fn registry(fixture: &dyn BackendFixture) -> Verdict<Registry> {
    Ok(Registry::new([fixture.dispatcher()])?)
}

/// `layer` wrapped by the backend, with a fresh adapter of rank 3 and scaling 2.
pub(crate) fn wrap(
    fixture: &dyn BackendFixture,
    layer: &dyn Layer,
    name: &str,
) -> Verdict<Box<dyn LoraLayer>> {
    let options = LoraOptions::default().with_rank(3).with_alpha(6.0);
    Ok(registry(fixture)?.wrap("proj", layer, name, &options)?)
}

/// Gives `B` of an adapter random values, so that it contributes.
pub(crate) fn train(lora: &dyn LoraLayer, name: &str, seed: i64) -> Verdict {
    let _guard = tch::no_grad_guard();
    let b = lora.lora_b(name).ok_or_else(|| Broken::new(format!("adapter \"{name}\" has no B")))?;
    tch::manual_seed(seed);
    let values = Tensor::randn(b.size(), (Kind::Float, Device::Cpu)) * 0.5;
    b.shallow_clone().f_copy_(&values)?;
    Ok(())
}

/// The output for `x` without recording gradients.
pub(crate) fn output(layer: &dyn Layer, x: &Tensor) -> Verdict<Tensor> {
    let _guard = tch::no_grad_guard();
    Ok(layer.forward(x)?)
}

/// A model of two layers.
#[derive(Debug, ModuleTree)]
pub(crate) struct TwoLayers {
    pub(crate) left: Slot,
    pub(crate) right: Slot,
}

impl TwoLayers {
    /// Two layers of one shape with different values.
    pub(crate) fn new(fixture: &dyn BackendFixture, case: &Case) -> Verdict<Self> {
        let other = Case { seed: case.seed + 1, ..case.clone() };
        Ok(Self { left: Slot::new(build(fixture, case)?), right: Slot::new(build(fixture, &other)?) })
    }

    pub(crate) fn slots(&self) -> [&Slot; 2] {
        [&self.left, &self.right]
    }

    /// Everything that a failed operation must leave as it was: each layer's description, tensors with address, flags and
    /// bytes, and its adapters' parameters.
    pub(crate) fn snapshot(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (path, slot) in ["left", "right"].into_iter().zip(self.slots()) {
            lines.push(format!("{path} {:?}", slot.layer()));
            let base =
                slot.layer().named_tensors().into_iter().map(|(name, tensor)| (name.to_owned(), tensor));
            let adapters = slot.layer().as_tuner().map(qtuner_core::BaseTunerLayer::adapter_parameters);
            for (name, tensor) in base.chain(adapters.unwrap_or_default()) {
                let mut line =
                    format!("{path}.{name} {tensor:?} {:?} {} ", tensor.data_ptr(), tensor.requires_grad());
                for byte in bytes(&tensor) {
                    let _ = write!(line, "{byte:02x}");
                }
                lines.push(line);
            }
        }
        lines
    }
}
