//! A loaded model made ready for the dtype that it computes in.

use crate::{LayerError, ModuleTree};
use tch::Kind;

/// Lets every quantized layer bring its codes into the order that this machine multiplies fastest with activations of dtype `kind`
/// ([`QuantBackend::arranged_for`](crate::QuantBackend::arranged_for)); says how many did. Layers under a tuner stay as they
/// are, so this goes before an injection.
///
/// Outputs are the same but for their last bits. Tensors keep names, dtypes, shapes and values, but not their storage, and they
/// need not be contiguous any more.
///
/// ```
/// use qtuner_core::{Linear, ModuleTree, Slot, model};
/// use tch::{Device, Kind, Tensor};
///
/// #[derive(ModuleTree)]
/// struct Model {
///     linear: Slot,
/// }
///
/// let linear = Linear::new(Tensor::ones([3, 4], (Kind::Float, Device::Cpu)), None)?;
/// let mut dense = Model { linear: linear.into() };
/// assert_eq!(model::arrange_for(&mut dense, Kind::Float)?, 0);
/// # Ok::<(), qtuner_core::LayerError>(())
/// ```
///
/// # Errors
/// [`LayerError::Torch`], with the slot's name, when there is no memory for a layer; it and those behind it are as they were.
pub fn arrange_for(model: &mut impl ModuleTree, kind: Kind) -> Result<usize, LayerError> {
    let mut arranged = 0;
    for (path, slot) in &mut model.collect_leaves_mut().slots {
        let Some(quantized) = slot.layer().as_quantized() else { continue };
        if let Some(layer) = quantized.arranged_for(kind).map_err(|error| error.at(path.as_str()))? {
            slot.replace(layer);
            arranged += 1;
        }
    }
    Ok(arranged)
}
