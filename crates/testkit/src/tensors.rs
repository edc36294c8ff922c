//! A layer's tensors as a checkpoint holds them, and ways to damage them.

use crate::bytes::same_values;
use qtuner_core::{Layer, LayerError};
use tch::{Kind, Tensor};

/// A layer's tensors by their checkpoint names, in file order.
#[derive(Debug)]
pub struct CheckpointTensors {
    layer: String,
    tensors: Vec<(String, Tensor)>,
}

impl CheckpointTensors {
    /// Copies of the tensors of `layer`, contiguous, as a file has them.
    pub fn of(layer: &dyn Layer) -> Self {
        let copied = layer.named_tensors().into_iter();
        let tensors =
            copied.map(|(name, tensor)| (name.to_owned(), tensor.detach().contiguous().copy())).collect();
        Self { layer: layer.kind_name().to_owned(), tensors }
    }

    /// Tensors for a layer of the kind `layer`.
    pub(crate) fn new(layer: &str, tensors: Vec<(String, Tensor)>) -> Self {
        Self { layer: layer.to_owned(), tensors }
    }

    /// The tensors in file order.
    pub fn tensors(&self) -> &[(String, Tensor)] {
        &self.tensors
    }

    /// Takes out the tensor called `name`.
    ///
    /// # Errors
    /// [`LayerError::Tensor`] when there is none.
    pub fn take(&mut self, name: &str) -> Result<Tensor, LayerError> {
        self.take_optional(name).ok_or_else(|| LayerError::Tensor {
            layer: self.layer.clone(),
            tensor: name.to_owned(),
            found: "no such tensor".to_owned(),
            expected: "one of that name".to_owned(),
        })
    }

    /// Takes out the tensor called `name`, if it is there.
    pub fn take_optional(&mut self, name: &str) -> Option<Tensor> {
        let index = self.tensors.iter().position(|(other, _)| other == name)?;
        Some(self.tensors.remove(index).1)
    }

    /// Without the tensor called `name`.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.tensors.retain(|(other, _)| other != name);
        self
    }

    /// With the tensor called `name` changed.
    #[must_use]
    pub fn changed(mut self, name: &str, change: impl Fn(&Tensor) -> Tensor) -> Self {
        for (other, tensor) in &mut self.tensors {
            if other == name {
                *tensor = change(tensor);
            }
        }
        self
    }

    /// With the last index of dimension `dim` of the tensor called `name` cut off.
    #[must_use]
    pub fn truncated(self, name: &str, dim: i64) -> Self {
        self.changed(name, |tensor| {
            let length = tensor.size()[usize::try_from(dim).unwrap_or(0)];
            tensor.narrow(dim, 0, length - 1).copy()
        })
    }

    /// With the tensor called `name` in another dtype.
    #[must_use]
    pub fn with_kind(self, name: &str, kind: Kind) -> Self {
        self.changed(name, |tensor| tensor.to_kind(kind))
    }

    /// The name of the first tensor that differs from the one of `layer` in name, dtype, shape or bytes.
    pub(crate) fn difference(&self, layer: &dyn Layer) -> Option<String> {
        let others = layer.named_tensors();
        if self.tensors.len() != others.len() {
            return Some(format!("{} tensors, expected {}", others.len(), self.tensors.len()));
        }
        let pairs = self.tensors.iter().zip(&others);
        let differs = |((name, tensor), (other_name, other)): &(&(String, Tensor), &(&str, Tensor))| {
            name != other_name || !same_values(tensor, other)
        };
        pairs
            .into_iter()
            .find(differs)
            .map(|((name, _), (other, _))| format!("tensor `{other}`, expected `{name}`"))
    }
}

/// One way to ask a backend for a layer that cannot be.
pub struct Corruption<'a> {
    pub(crate) name: &'static str,
    pub(crate) tensor: Option<&'static str>,
    pub(crate) attempt: Box<dyn Fn() -> Result<Box<dyn Layer>, LayerError> + 'a>,
}

impl<'a> Corruption<'a> {
    /// An attempt that is to be refused; `name` says what is wrong.
    pub fn new(name: &'static str, attempt: impl Fn() -> Result<Box<dyn Layer>, LayerError> + 'a) -> Self {
        Self { name, tensor: None, attempt: Box::new(attempt) }
    }

    /// With the name of the tensor that the error has to name.
    #[must_use]
    pub fn blamed_on(self, tensor: &'static str) -> Self {
        Self { tensor: Some(tensor), ..self }
    }
}

impl std::fmt::Debug for Corruption<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Corruption")
            .field("name", &self.name)
            .field("tensor", &self.tensor)
            .finish_non_exhaustive()
    }
}
