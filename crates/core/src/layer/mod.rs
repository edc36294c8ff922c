//! One linear map of a model, whatever its storage: dense, packed, or wrapped by a tuner.
//!
//! Shapes: `x [..., in_features]` -> `y [..., out_features]`, any number of leading dimensions, zero rows included.
//!
//! There is no `weight() -> &Tensor`: a packed layer has none. What a layer can do beyond its forward pass is asked
//! for by the `as_*` methods, each of which hands out a small trait or nothing.

mod error;
mod linear;
mod merge;

pub use error::LayerError;
pub use linear::Linear;
pub use merge::MergeDelta;

use crate::{BaseTunerLayer, LoraLayer, QuantBackend};
use std::any::Any;
use std::fmt::Debug;
use tch::{Device, Tensor};

/// A linear layer that a [`Slot`](crate::Slot) can hold.
///
/// Who implements it: dense layers ([`Linear`]), quantization backends, and (through [`LoraLayer`]) tuner layers.
/// Who calls it: models, through their slots, and the tuners that wrap a layer.
///
/// ```
/// use qtuner_core::{Layer, Linear};
/// use tch::{Device, Kind, Tensor};
///
/// let layer = Linear::new(Tensor::ones([3, 4], (Kind::Float, Device::Cpu)), None)?;
/// let y = layer.forward(&Tensor::ones([2, 5, 4], (Kind::Float, Device::Cpu)))?;
/// assert_eq!(y.size(), [2, 5, 3]);
/// # Ok::<(), qtuner_core::LayerError>(())
/// ```
pub trait Layer: Any + Debug + Send {
    /// The layer's output for `x [..., in_features]`, as `[..., out_features]` in the dtype of `x`.
    ///
    /// It may run in [`inference_mode`](crate::autograd::inference_mode), as it does when a text is generated. What a layer
    /// made and kept there would be no good for training.
    ///
    /// What it returns is the caller's: an adapter may write its sum into that memory, if no other tensor holds it. Memory that
    /// libtorch does not know to be shared (`Tensor::from_blob`) is to be copied first.
    ///
    /// # Errors
    /// [`LayerError::Input`] when the last dimension, the dtype or the device of `x` does not fit.
    fn forward(&self, x: &Tensor) -> Result<Tensor, LayerError>;

    /// Size of the last dimension of the input.
    fn in_features(&self) -> i64;

    /// Size of the last dimension of the output.
    fn out_features(&self) -> i64;

    /// A short name for reports and errors, such as `Linear`, `WQLinear_GEMM` or `lora.Linear`.
    fn kind_name(&self) -> &'static str;

    /// Where the layer's tensors are, and where its adapters will be.
    fn device(&self) -> Device;

    /// The layer's tensors under their checkpoint names, in file order: `weight`, `bias` for a dense layer;
    /// `qweight`, `qzeros`, `scales`, `bias` for an AWQ one. A tuner layer gives those of its base.
    ///
    /// They share storage with the layer, and are what is written back to a checkpoint, unchanged.
    fn named_tensors(&self) -> Vec<(&'static str, Tensor)>;

    /// A second handle on the same tensors: nothing is copied.
    fn shallow_clone(&self) -> Box<dyn Layer>;

    /// How many parameters the layer stands for: a packed weight counts as the weights it unpacks to.
    fn parameter_count(&self) -> i64 {
        let bias = self.bias().map_or(0, |bias| i64::try_from(bias.numel()).unwrap_or(i64::MAX));
        self.in_features().saturating_mul(self.out_features()).saturating_add(bias)
    }

    /// The bias `[out_features]`, if the layer has one.
    fn bias(&self) -> Option<Tensor> {
        self.named_tensors().into_iter().find(|(name, _)| *name == "bias").map(|(_, bias)| bias)
    }

    /// The layer as a quantized layer, if it is one.
    fn as_quantized(&self) -> Option<&dyn QuantBackend> {
        None
    }

    /// The layer as something that deltas can be merged into, if its storage allows it.
    fn as_merge(&self) -> Option<&dyn MergeDelta> {
        None
    }

    /// The layer as a tuner layer, if it wraps another layer.
    fn as_tuner(&self) -> Option<&dyn BaseTunerLayer> {
        None
    }

    /// The layer as a tuner layer that can be changed, if it wraps another layer.
    fn as_tuner_mut(&mut self) -> Option<&mut dyn BaseTunerLayer> {
        None
    }

    /// The layer as a LoRA layer, if it is one.
    fn as_lora(&self) -> Option<&dyn LoraLayer> {
        None
    }

    /// The layer as a LoRA layer that can be changed, if it is one.
    fn as_lora_mut(&mut self) -> Option<&mut dyn LoraLayer> {
        None
    }
}

impl dyn Layer {
    /// The layer as the concrete type `L`, if it is one.
    ///
    /// ```
    /// use qtuner_core::{Layer, Linear};
    /// # use tch::{Device, Kind, Tensor};
    /// let layer: Box<dyn Layer> = Box::new(Linear::new(Tensor::ones([3, 4], (Kind::Float, Device::Cpu)), None)?);
    /// assert!(layer.downcast_ref::<Linear>().is_some());
    /// # Ok::<(), qtuner_core::LayerError>(())
    /// ```
    pub fn downcast_ref<L: Layer>(&self) -> Option<&L> {
        (self as &dyn Any).downcast_ref()
    }

    /// The layer as the concrete type `L` that can be changed, if it is one.
    pub fn downcast_mut<L: Layer>(&mut self) -> Option<&mut L> {
        (self as &mut dyn Any).downcast_mut()
    }

    /// The innermost layer: the one without a tuner around it.
    pub fn innermost(&self) -> &dyn Layer {
        let mut layer = self;
        while let Some(tuner) = layer.as_tuner() {
            layer = tuner.base_layer();
        }
        layer
    }
}
