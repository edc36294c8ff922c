//! The second phase: swapping boxes and flags. Nothing in it can fail.

use super::plan::{Change, can_train};
use super::{AdaptedLayer, InjectReport, Plan};
use crate::{AdapterStore, ModuleTree, Slot};
use std::collections::BTreeSet;
use tch::Tensor;

/// Carries out `plan` on the model that it was made for.
pub(crate) fn apply(model: &mut impl ModuleTree, plan: Plan) -> InjectReport {
    let Plan {
        adapter_name, config, mut changes, store, situation, trained_biases, survey, warnings, ..
    } = plan;
    let mut layers = Vec::new();
    let mut leaves = model.collect_leaves_mut();
    freeze(&leaves.slots, &leaves.parameters, &trained_biases);
    store_biases(&store, &leaves.slots, &leaves.parameters, &trained_biases);
    for (path, slot) in &mut leaves.slots {
        let change = changes.remove(path.as_str());
        let backend = match change {
            Some(Change::Wrap { mut wrapper, backend }) => {
                settled(&wrapper.lora_mut().settle(path.as_str(), &store, &situation));
                drop(slot.replace(wrapper));
                Some(backend)
            }
            Some(Change::Add { adapter, backend }) => {
                if let Some(lora) = slot.layer_mut().as_lora_mut() {
                    lora.lora_mut().insert(&adapter_name, adapter);
                    settled(&lora.lora_mut().join(&situation));
                }
                Some(backend)
            }
            // A layer whose adapters were all deleted follows the model's new list of active ones.
            None => {
                if let Some(lora) = slot.layer_mut().as_lora_mut() {
                    settled(&lora.lora_mut().join(&situation));
                }
                None
            }
        };
        let Some(backend) = backend else { continue };
        if let Some(lora) = slot.layer().as_lora() {
            layers.extend(AdaptedLayer::of(path.as_str(), backend, lora, &adapter_name));
        }
    }
    drop(leaves);
    let (trainable, total) = count(model);
    InjectReport { adapter_name, config, layers, survey, warnings, trainable, total, store }
}

/// Setting `requires_grad` on a fresh floating leaf is all that `settle` does with libtorch; the plan made them.
fn settled(outcome: &Result<(), crate::TunerError>) {
    debug_assert!(outcome.is_ok(), "{outcome:?}");
}

/// Freezes everything that is not an adapter, but for `trained`.
fn freeze(
    slots: &[(crate::ModulePath, &mut Slot)],
    parameters: &[(crate::ModulePath, &mut Tensor)],
    trained: &BTreeSet<String>,
) {
    let set = |name: &str, tensor: &Tensor| {
        // The plan has checked that every parameter is a leaf, the one thing that libtorch asks for here.
        let _ = tensor.f_set_requires_grad(can_train(tensor) && trained.contains(name));
    };
    for (path, slot) in slots {
        for (name, tensor) in slot.layer().named_tensors() {
            set(&format!("{path}.{name}"), &tensor);
        }
    }
    for (path, tensor) in parameters {
        set(path.as_str(), tensor);
    }
}

/// Puts the biases that train along where an optimizer finds them.
fn store_biases(
    store: &AdapterStore,
    slots: &[(crate::ModulePath, &mut Slot)],
    parameters: &[(crate::ModulePath, &mut Tensor)],
    trained: &BTreeSet<String>,
) {
    for (path, slot) in slots {
        let name = format!("{path}.bias");
        if let (Some(bias), true) = (slot.layer().bias(), trained.contains(&name)) {
            store.insert_once(&name, &bias);
        }
    }
    for (path, tensor) in parameters.iter().filter(|(path, _)| trained.contains(path.as_str())) {
        store.insert_once(path.as_str(), tensor);
    }
}

/// Trainable and all parameters of a model; packed weights count as the weights they stand for, shared tensors once.
pub(crate) fn count(model: &impl ModuleTree) -> (i64, i64) {
    let leaves = model.collect_leaves();
    let mut seen = BTreeSet::new();
    let mut trainable = 0;
    let mut total = 0;
    let mut add = |tensor: &Tensor| {
        if seen.insert(tensor.data_ptr() as usize) {
            let size = i64::try_from(tensor.numel()).unwrap_or(i64::MAX);
            total += size;
            trainable += if tensor.requires_grad() { size } else { 0 };
        }
    };
    let mut packed = 0;
    for (_, slot) in &leaves.slots {
        let base = slot.layer().innermost();
        if base.as_quantized().is_some() {
            packed += base.in_features() * base.out_features();
            base.bias().iter().for_each(&mut add);
        } else {
            base.named_tensors().iter().for_each(|(_, tensor)| add(tensor));
        }
        let mut layer = slot.layer();
        while let Some(tuner) = layer.as_tuner() {
            tuner.adapter_parameters().iter().for_each(|(_, tensor)| add(tensor));
            layer = tuner.base_layer();
        }
    }
    leaves.parameters.iter().for_each(|(_, tensor)| add(tensor));
    (trainable, total + packed)
}
