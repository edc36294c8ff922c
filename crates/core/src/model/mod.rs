//! The adapter life cycle of a whole model: each function broadcasts to every tuner layer.
//!
//! What can fail is checked on every layer before any layer is changed. [`arrange_for`] alone goes layer by layer, each of which
//! is the same layer before and after, so that memory for one of them is enough.

mod adapters;
mod arrange;
mod merge;
mod scale;

pub use adapters::{
    active_adapters, adapter_names, count_parameters, delete_adapter, disable_adapters, enable_adapters,
    set_adapter, set_mode, var_store,
};
pub use arrange::arrange_for;
pub use merge::{merge_adapter, merge_and_unload, unload, unmerge_adapter};
pub use scale::{scale_adapters, set_scale, unscale_adapters, with_adapter_scale};

use crate::{BaseTunerLayer, LoraLayer, ModulePath, ModuleTree, TunerError};

/// Runs `visit` on every tuner layer, in tree order, up to the first error.
fn each_tuner(
    model: &impl ModuleTree,
    mut visit: impl FnMut(&ModulePath, &dyn BaseTunerLayer) -> Result<(), TunerError>,
) -> Result<(), TunerError> {
    let leaves = model.collect_leaves();
    let tuners = leaves.slots.iter().filter_map(|(path, slot)| Some((path, slot.layer().as_tuner()?)));
    tuners.into_iter().try_for_each(|(path, tuner)| visit(path, tuner))
}

/// Runs `change` on every tuner layer, in tree order, up to the first error.
fn each_tuner_mut(
    model: &mut impl ModuleTree,
    mut change: impl FnMut(&mut dyn BaseTunerLayer) -> Result<(), TunerError>,
) -> Result<(), TunerError> {
    let mut leaves = model.collect_leaves_mut();
    leaves.slots.iter_mut().filter_map(|(_, slot)| slot.layer_mut().as_tuner_mut()).try_for_each(&mut change)
}

/// Runs `change` on every LoRA layer, in tree order, up to the first error.
fn each_lora_mut(
    model: &mut impl ModuleTree,
    mut change: impl FnMut(&mut dyn LoraLayer) -> Result<(), TunerError>,
) -> Result<(), TunerError> {
    let mut leaves = model.collect_leaves_mut();
    leaves.slots.iter_mut().filter_map(|(_, slot)| slot.layer_mut().as_lora_mut()).try_for_each(&mut change)
}

/// Checks that some layer knows each of `names`.
fn require_known(model: &impl ModuleTree, names: &[&str]) -> Result<(), TunerError> {
    let known = adapter_names(model);
    match names.iter().find(|name| !known.iter().any(|known| known == *name)) {
        None => Ok(()),
        Some(name) => Err(TunerError::UnknownAdapter { adapter: (*name).to_owned(), known }),
    }
}
