//! Which parameters train.

use qtuner_core::{BaseTunerLayer, ModuleTree};
use std::collections::BTreeMap;
use tch::{TchError, Tensor};

/// Handles on the parameters that require a gradient, by name.
pub type Parameters = BTreeMap<String, Tensor>;

/// Every parameter of `model` that requires a gradient: of adapters, biases that train along, free tensors.
pub fn trainable_parameters(model: &impl ModuleTree) -> Parameters {
    let leaves = model.collect_leaves();
    let mut parameters = Parameters::new();
    let mut add = |name: String, tensor: Tensor| {
        if tensor.requires_grad() {
            parameters.insert(name, tensor);
        }
    };
    for (path, slot) in &leaves.slots {
        for (name, tensor) in slot.layer().innermost().named_tensors() {
            add(format!("{path}.{name}"), tensor);
        }
        let mut tuner = slot.layer().as_tuner();
        while let Some(layer) = tuner {
            for (name, tensor) in BaseTunerLayer::adapter_parameters(layer) {
                add(format!("{path}.{name}"), tensor);
            }
            tuner = layer.base_layer().as_tuner();
        }
    }
    for (path, tensor) in &leaves.parameters {
        add(path.to_string(), tensor.shallow_clone());
    }
    parameters
}

/// The gradient of a parameter, if a backward pass has reached it.
pub(super) fn gradient(parameter: &Tensor) -> Result<Option<Tensor>, TchError> {
    let gradient = parameter.f_grad()?;
    Ok(gradient.defined().then_some(gradient))
}
