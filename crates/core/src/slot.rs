//! The owned place in a model that holds a layer and can have it replaced.

use crate::{Layer, LayerError};
use std::fmt;
use tch::Tensor;

/// What a model owns in place of a linear layer.
///
/// A slot knows its name in the module tree once the model has been walked with
/// [`ModuleTree::leaves_mut`](crate::ModuleTree::leaves_mut), as injection and loading do; its errors then say it.
///
/// ```
/// use qtuner_core::{Linear, Slot};
/// use tch::{Device, Kind, Tensor};
///
/// let slot = Slot::from(Linear::new(Tensor::ones([3, 4], (Kind::Float, Device::Cpu)), None)?);
/// assert_eq!(slot.forward(&Tensor::ones([1, 4], (Kind::Float, Device::Cpu)))?.size(), [1, 3]);
/// # Ok::<(), qtuner_core::LayerError>(())
/// ```
pub struct Slot {
    path: String,
    layer: Box<dyn Layer>,
}

impl Slot {
    /// A slot that holds `layer`.
    pub fn new(layer: Box<dyn Layer>) -> Self {
        Self { path: String::new(), layer }
    }

    /// The layer's output for `x [..., in_features]`.
    ///
    /// # Errors
    /// Those of [`Layer::forward`], with the slot's name where it is known.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor, LayerError> {
        self.layer.forward(x).map_err(|error| error.at(&self.path))
    }

    /// The slot's name in the module tree, empty before the model was walked.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The layer.
    pub fn layer(&self) -> &dyn Layer {
        &*self.layer
    }

    /// The layer, to be changed.
    pub fn layer_mut(&mut self) -> &mut dyn Layer {
        &mut *self.layer
    }

    /// Puts `layer` in and gives the one that was there.
    pub fn replace(&mut self, layer: Box<dyn Layer>) -> Box<dyn Layer> {
        std::mem::replace(&mut self.layer, layer)
    }

    pub(crate) fn set_path(&mut self, path: &str) {
        if self.path != path {
            path.clone_into(&mut self.path);
        }
    }
}

impl<L: Layer> From<L> for Slot {
    fn from(layer: L) -> Self {
        Self::new(Box::new(layer))
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.layer.fmt(f)
    }
}

impl tch::nn::Module for Slot {
    /// tch's convention: an error panics. [`Slot::forward`] returns it instead.
    fn forward(&self, xs: &Tensor) -> Tensor {
        match Slot::forward(self, xs) {
            Ok(ys) => ys,
            Err(error) => panic!("{error}"),
        }
    }
}
