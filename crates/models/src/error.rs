//! Why a checkpoint's folder is no model, or a model cannot compute.

use qtuner_core::{LayerError, LoadError, RegistryError};
use std::path::{Path, PathBuf};
use tch::TchError;

/// An error of opening or running a model. Each names the file and the tensor or key, what was found and what was expected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The system refused to read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The folder lacks a file.
    #[error("{}: not found; expected {expected}", path.display())]
    MissingFile {
        /// The file.
        path: PathBuf,
        /// What a folder has.
        expected: String,
    },
    /// A file that is not JSON, or not of the form that its name promises.
    #[error("{}: {reason}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A key of the config that is missing or has an unusable value.
    #[error("{}: key `{key}` is {found}, expected {expected}", path.display())]
    Config {
        /// The config file.
        path: PathBuf,
        /// The key, with dots for nested ones.
        key: String,
        /// What it is.
        found: String,
        /// What it must be.
        expected: String,
    },
    /// An architecture that is not built in.
    #[error("{}: model_type \"{found}\" is not supported; supported: {}", path.display(), supported.join(", "))]
    UnknownModelType {
        /// The config file.
        path: PathBuf,
        /// The type.
        found: String,
        /// Those that are built in.
        supported: Vec<&'static str>,
    },
    /// Logits that are no numbers.
    #[error(
        "the logits of new token {place} are NaN, expected numbers: weights or an adapter of the model are not numbers, or too \
        large for the dtype"
    )]
    NotANumber {
        /// How many tokens there were.
        place: usize,
    },
    /// A file that is not whole, or whose header lies about it.
    #[error("{}: not a whole safetensors file: {reason}: download it again", path.display())]
    Safetensors {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A tensor that the model needs and no file has.
    #[error("{}: tensor `{tensor}` is missing{hint}", folder.display())]
    MissingTensor {
        /// The folder.
        folder: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// What may be the reason, or nothing.
        hint: String,
    },
    /// A tensor of another shape or dtype than the config implies.
    #[error("{files}: tensor `{tensor}` has {found}, expected {expected} by config.json")]
    Tensor {
        /// The file that holds it.
        files: String,
        /// The tensor's or layer's name.
        tensor: String,
        /// What it has.
        found: String,
        /// What the config implies.
        expected: String,
    },
    /// A linear layer could not be made of its tensors.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The table of backends is unusable.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A layer failed.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// An input that the model cannot take.
    #[error("the model's {what} is {found}, expected {expected}")]
    Input {
        /// Which input or option.
        what: &'static str,
        /// What it is.
        found: String,
        /// What it must be.
        expected: String,
    },
    /// libtorch refused an operation.
    #[error("libtorch failed in {operation}: {source}")]
    Torch {
        /// What was being computed.
        operation: &'static str,
        /// libtorch's own message.
        source: TchError,
    },
}

impl ModelError {
    pub(crate) fn torch(operation: &'static str) -> impl FnOnce(TchError) -> Self {
        move |source| Self::Torch { operation, source }
    }

    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}
