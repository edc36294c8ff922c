//! What can be wrong with a `WQLinear_GEMM` layer.

use qtuner_core::LayerError;
use tch::TchError;

/// An error of the AWQ backend.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AwqError {
    /// A checkpoint tensor of a wrong shape or dtype.
    #[error("tensor `{tensor}` has {found}, expected {expected}")]
    Tensor {
        /// Its name in the checkpoint.
        tensor: &'static str,
        /// What it has.
        found: String,
        /// What the format asks for.
        expected: String,
    },
    /// A size that the format cannot hold.
    #[error("{quantity} is {found}, expected {expected}")]
    Size {
        /// Which size.
        quantity: &'static str,
        /// What it is.
        found: i64,
        /// What the format asks for.
        expected: String,
    },
    /// A tensor with infinities or NaN in it.
    #[error(
        "tensor `{tensor}` has values that are not finite, expected finite ones: the file seems to be damaged"
    )]
    NotFinite {
        /// Its name.
        tensor: &'static str,
    },
    /// The extension refused a call.
    #[error("the libtorch extension failed: {0}")]
    Extension(String),
    /// libtorch refused an operation.
    #[error("libtorch failed in {operation}: {source}")]
    Torch {
        /// What was being computed.
        operation: &'static str,
        /// libtorch's own message.
        source: TchError,
    },
}

impl AwqError {
    pub(crate) fn torch(operation: &'static str) -> impl Fn(TchError) -> Self {
        move |source| Self::Torch { operation, source }
    }

    /// The same error as one of the layer called `layer`.
    pub(crate) fn of_layer(self, layer: String) -> LayerError {
        match self {
            Self::Tensor { tensor, found, expected } => {
                LayerError::Tensor { layer, tensor: tensor.to_owned(), found, expected }
            }
            Self::NotFinite { tensor } => LayerError::Tensor {
                layer,
                tensor: tensor.to_owned(),
                found: "values that are not finite".to_owned(),
                expected: "finite ones".to_owned(),
            },
            Self::Size { quantity, found, expected } => {
                LayerError::Input { layer, found: format!("{quantity} {found}"), expected }
            }
            Self::Torch { operation, source } => LayerError::Torch { layer, operation, source },
            Self::Extension(message) => {
                LayerError::Torch { layer, operation: "the gemm extension", source: TchError::Torch(message) }
            }
        }
    }
}

impl From<AwqError> for LayerError {
    fn from(error: AwqError) -> Self {
        error.of_layer(crate::layer::KIND_NAME.to_owned())
    }
}
