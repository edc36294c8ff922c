//! Which adapters a model has, which are active, and whether they contribute.

use super::{each_tuner, each_tuner_mut, require_known};
use crate::config::Bias;
use crate::{AdapterState, BaseTunerLayer, LoraLayer, Mode, ModuleTree, TunerError};
use std::collections::BTreeSet;
use tch::nn::VarStore;

/// The names of all adapters of the model, sorted.
pub fn adapter_names(model: &impl ModuleTree) -> Vec<String> {
    let leaves = model.collect_leaves();
    let tuners = leaves.slots.iter().filter_map(|(_, slot)| slot.layer().as_tuner());
    let names: BTreeSet<String> = tuners.flat_map(BaseTunerLayer::adapter_names).collect();
    names.into_iter().collect()
}

/// The active adapters, those of the first tuner layer: injection and the functions here keep all layers the same.
pub fn active_adapters(model: &impl ModuleTree) -> Vec<String> {
    let leaves = model.collect_leaves();
    let mut tuners = leaves.slots.iter().filter_map(|(_, slot)| slot.layer().as_tuner());
    tuners.next().map(|tuner| tuner.active_adapters().to_vec()).unwrap_or_default()
}

/// Makes `names` the active adapters of every layer; they contribute and train, even those that were loaded
/// [frozen](crate::Trainability::Frozen), the others do neither. Merged adapters are unmerged first.
///
/// # Errors
/// [`TunerError::UnknownAdapter`] for a name that no layer has; nothing has changed then.
pub fn set_adapter(model: &mut impl ModuleTree, names: &[&str]) -> Result<(), TunerError> {
    require_known(model, names)?;
    each_tuner_mut(model, |tuner| tuner.set_adapter(names))
}

/// Lets the active adapters contribute and train again, but for those that are [frozen](crate::Trainability::Frozen).
///
/// # Errors
/// [`TunerError::Layer`] when a parameter's flag cannot be changed.
pub fn enable_adapters(model: &mut impl ModuleTree) -> Result<(), TunerError> {
    each_tuner_mut(model, |tuner| tuner.set_adapter_state(AdapterState::Enabled))
}

/// Makes every layer its base again, bit for bit, until [`enable_adapters`]. Biases that an adapter trained stay trained.
///
/// # Errors
/// [`TunerError::Layer`] when a parameter's flag cannot be changed.
pub fn disable_adapters(model: &mut impl ModuleTree) -> Result<(), TunerError> {
    warn_of_trained_biases(model);
    each_tuner_mut(model, |tuner| tuner.set_adapter_state(AdapterState::Disabled))
}

/// Biases have no base to go back to: with them trained, a disabled adapter is not quite the base model.
fn warn_of_trained_biases(model: &impl ModuleTree) {
    let leaves = model.collect_leaves();
    let lora = leaves.slots.iter().filter_map(|(_, slot)| slot.layer().as_lora());
    let mut adapters =
        lora.flat_map(|lora| lora.active_adapters().iter().filter_map(|name| lora.lora().adapter(name)));
    if adapters.any(|adapter| adapter.options().config.bias != Bias::None) {
        tracing::warn!(
            "an active adapter has trained biases: they stay, and the output is not quite the base model's"
        );
    }
}

/// Removes an adapter from every layer. If it was the only active one, the alphabetically first that remains in the
/// model becomes active everywhere, and is returned.
///
/// # Errors
/// [`TunerError::UnknownAdapter`] when no layer has it, [`TunerError::Merged`] while it is merged anywhere; nothing has
/// changed then.
pub fn delete_adapter(model: &mut impl ModuleTree, name: &str) -> Result<Option<String>, TunerError> {
    require_known(model, &[name])?;
    each_tuner(model, |path, tuner| {
        if tuner.merged_adapters().iter().any(|merged| merged == name) {
            return Err(TunerError::Merged { layer: path.to_string(), adapter: name.to_owned() });
        }
        Ok(())
    })?;
    let before = active_adapters(model);
    each_tuner_mut(model, |tuner| tuner.delete_adapter(name).map(|_| ()))?;
    let remaining: Vec<String> = before.iter().filter(|active| *active != name).cloned().collect();
    if remaining.len() == before.len() || !remaining.is_empty() {
        return Ok(None);
    }
    // Layers may differ in what remains on them; the model has one list of active adapters.
    let next = adapter_names(model).into_iter().next();
    if let Some(next) = &next {
        tracing::warn!("the active adapter \"{name}\" was deleted: \"{next}\" is active now");
        // Nobody named it: one that was loaded frozen does not train.
        each_tuner_mut(model, |tuner| match tuner.as_lora_mut() {
            Some(lora) => lora.lora_mut().activate(&[next]),
            None => tuner.set_adapter(&[next]),
        })?;
    }
    Ok(next)
}

/// Lets dropout act in every tuner layer, or not.
pub fn set_mode(model: &mut impl ModuleTree, mode: Mode) {
    let mut leaves = model.collect_leaves_mut();
    for (_, slot) in &mut leaves.slots {
        if let Some(tuner) = slot.layer_mut().as_tuner_mut() {
            tuner.set_mode(mode);
        }
    }
}

/// The `VarStore` that holds the model's adapter parameters, if it has any: what an optimizer is built on.
pub fn var_store(model: &impl ModuleTree) -> Option<VarStore> {
    let leaves = model.collect_leaves();
    let mut lora = leaves.slots.iter().filter_map(|(_, slot)| slot.layer().as_lora());
    lora.find_map(|layer| LoraLayer::lora(layer).store().map(crate::AdapterStore::var_store))
}

/// Trainable and all parameters; a packed weight counts as the weights it stands for, a shared tensor once.
pub fn count_parameters(model: &impl ModuleTree) -> (i64, i64) {
    crate::inject::count(model)
}
