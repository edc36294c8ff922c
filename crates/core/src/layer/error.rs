//! What can be wrong with a layer's tensors, its input, or a thing asked of it.

use tch::TchError;

/// An error of one layer. Each names the layer, what was found and what was expected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// An input that the layer cannot take.
    #[error("{layer}: the input has {found}, expected {expected}")]
    Input {
        /// The layer, as its `Debug` form prints it.
        layer: String,
        /// What the input has.
        found: String,
        /// What the layer takes.
        expected: String,
    },
    /// A tensor that the layer cannot be built from.
    #[error("{layer}: tensor `{tensor}` has {found}, expected {expected}")]
    Tensor {
        /// The kind of layer that was to be built.
        layer: String,
        /// The tensor's checkpoint name.
        tensor: String,
        /// What the tensor has.
        found: String,
        /// What the format asks for.
        expected: String,
    },
    /// Something that this kind of layer does not do.
    #[error("{layer} does not support {operation}: {hint}")]
    Unsupported {
        /// The layer.
        layer: String,
        /// What was asked of it.
        operation: String,
        /// The way out.
        hint: String,
    },
    /// libtorch refused an operation.
    #[error("{layer}: libtorch failed in {operation}: {source}")]
    Torch {
        /// The layer.
        layer: String,
        /// What was being computed.
        operation: &'static str,
        /// libtorch's own message.
        source: TchError,
    },
    /// Any of the above, with the layer's place in the model.
    #[error("`{path}`: {source}")]
    At {
        /// The slot's name in the module tree.
        path: String,
        /// What went wrong there.
        source: Box<LayerError>,
    },
}

impl LayerError {
    /// Wraps a libtorch error with the layer and the operation that it came from.
    pub fn torch(layer: impl Into<String>, operation: &'static str) -> impl FnOnce(TchError) -> Self {
        let layer = layer.into();
        move |source| Self::Torch { layer, operation, source }
    }

    /// Adds the layer's place in the model, unless it is unknown or already there.
    #[must_use]
    pub fn at(self, path: &str) -> Self {
        match self {
            error if path.is_empty() || matches!(error, Self::At { .. }) => error,
            error => Self::At { path: path.to_owned(), source: Box::new(error) },
        }
    }
}
