//! Merging over a whole model: either every layer merges or none does.

use super::{active_adapters, each_tuner, each_tuner_mut, require_known};
use crate::{MergeCheck, ModuleTree, TunerError};

/// Merges `names` (the active adapters if `None`) into every layer that has them.
///
/// # Errors
/// [`TunerError::UnknownAdapter`] for a name that no layer has; [`TunerError::MergeUnsupported`] when a layer with one of
/// them cannot take a delta, as packed layers cannot; [`TunerError::NotFinite`] when the check fails. Nothing has changed then.
pub fn merge_adapter(
    model: &mut impl ModuleTree,
    names: Option<&[&str]>,
    check: MergeCheck,
) -> Result<(), TunerError> {
    let active = active_adapters(model);
    let active: Vec<&str> = active.iter().map(String::as_str).collect();
    let names = names.unwrap_or(&active);
    require_known(model, names)?;
    each_tuner(model, |_, tuner| tuner.check_merge(names, check))?;
    let outcome = each_tuner_mut(model, |tuner| tuner.merge(names, check));
    if outcome.is_err() {
        unmerge_adapter(model);
    }
    outcome
}

/// Takes every merged adapter out again; the weights are bit for bit what they were.
pub fn unmerge_adapter(model: &mut impl ModuleTree) {
    let mut leaves = model.collect_leaves_mut();
    for (_, slot) in &mut leaves.slots {
        if let Some(tuner) = slot.layer_mut().as_tuner_mut() {
            tuner.unmerge();
        }
    }
}

/// Merges as [`merge_adapter`] does and then takes the tuner layers away: the model is plain again, with other weights.
///
/// # Errors
/// Those of [`merge_adapter`]; nothing has changed then.
pub fn merge_and_unload(
    model: &mut impl ModuleTree,
    names: Option<&[&str]>,
    check: MergeCheck,
) -> Result<(), TunerError> {
    merge_adapter(model, names, check)?;
    unload(model);
    Ok(())
}

/// Takes the tuner layers away: every slot holds its base again (merged, where adapters are merged).
pub fn unload(model: &mut impl ModuleTree) {
    let mut leaves = model.collect_leaves_mut();
    for (_, slot) in &mut leaves.slots {
        while let Some(tuner) = slot.layer().as_tuner() {
            let unwrapped = tuner.unwrapped();
            drop(slot.replace(unwrapped));
        }
    }
}
