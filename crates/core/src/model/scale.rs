//! Scaling of adapters over a whole model. A runtime affair: scalings are not saved.

use super::{each_lora_mut, each_tuner, require_known};
use crate::{LoraLayer, ModuleTree, TunerError};

/// Sets an adapter's scaling on every layer to `scale` times its initial value.
///
/// # Errors
/// [`TunerError::UnknownAdapter`], [`TunerError::Scale`] for a scale that is not finite, [`TunerError::Merged`] while the
/// adapter is merged anywhere; nothing has changed then.
pub fn set_scale(model: &mut impl ModuleTree, adapter: &str, scale: f64) -> Result<(), TunerError> {
    require_known(model, &[adapter])?;
    refuse(model, scale)?;
    each_lora_mut(model, |lora| lora.set_scale(adapter, scale))
}

/// Multiplies the scaling of the active adapters on every layer.
///
/// # Errors
/// [`TunerError::Scale`], [`TunerError::Merged`]; nothing has changed then.
pub fn scale_adapters(model: &mut impl ModuleTree, scale: f64) -> Result<(), TunerError> {
    refuse(model, scale)?;
    each_lora_mut(model, |lora| lora.scale_layer(scale))
}

/// Divides the scaling of the active adapters on every layer, or resets it with `None`.
///
/// # Errors
/// [`TunerError::Scale`], [`TunerError::Merged`]; nothing has changed then.
pub fn unscale_adapters(model: &mut impl ModuleTree, scale: Option<f64>) -> Result<(), TunerError> {
    refuse(model, scale.unwrap_or(1.0))?;
    each_lora_mut(model, |lora| lora.unscale_layer(scale))
}

/// Runs `body` with the active adapters' scalings multiplied by `scale`, and puts every layer's own scalings back
/// afterwards, also when `body` panics (PEFT's `rescale_adapter_scale`).
///
/// # Errors
/// Those of [`scale_adapters`].
pub fn with_adapter_scale<M: ModuleTree, T>(
    model: &mut M,
    scale: f64,
    body: impl FnOnce(&mut M) -> T,
) -> Result<T, TunerError> {
    struct Restore<'m, M: ModuleTree> {
        model: &'m mut M,
        scalings: Vec<Vec<(String, f64)>>,
    }

    impl<M: ModuleTree> Drop for Restore<'_, M> {
        fn drop(&mut self) {
            let mut scalings = self.scalings.iter();
            // Restoring numbers cannot fail.
            let _ = each_lora_mut(self.model, |lora| {
                lora.lora_mut().restore_scalings(scalings.next().map_or(&[], Vec::as_slice));
                Ok(())
            });
        }
    }

    let leaves = model.collect_leaves();
    let lora = leaves.slots.iter().filter_map(|(_, slot)| slot.layer().as_lora());
    let scalings = lora.map(|layer| LoraLayer::lora(layer).scalings()).collect();
    drop(leaves);
    scale_adapters(model, scale)?;
    let restore = Restore { model, scalings };
    Ok(body(restore.model))
}

/// What any layer would refuse, before any layer is changed.
fn refuse(model: &impl ModuleTree, scale: f64) -> Result<(), TunerError> {
    if !scale.is_finite() {
        return Err(TunerError::Scale { scale, expected: "" });
    }
    each_tuner(model, |path, tuner| match tuner.merged_adapters().first() {
        Some(name) => Err(TunerError::Merged { layer: path.to_string(), adapter: name.clone() }),
        None => Ok(()),
    })
}
