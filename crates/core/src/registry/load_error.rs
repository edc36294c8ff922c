//! Why a checkpoint's layer could not be made.

use super::LayerSource;
use crate::LayerError;
use std::path::PathBuf;

/// A layer of a checkpoint that could not be made. Each names the layer and its file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// No linked backend takes the layer's tensors.
    #[error(
        "{files}: `{path}`: {format}: no backend linked that loads {tensors}; linked: {}; {hint}",
        linked.join(", ")
    )]
    NoBackend {
        /// The layer's name.
        path: String,
        /// The files of its tensors.
        files: String,
        /// The format, as far as its tensors or the config say it.
        format: String,
        /// The tensors that are there.
        tensors: String,
        /// The dispatchers that are linked.
        linked: Vec<&'static str>,
        /// The line that links the backend of that format.
        hint: String,
    },
    /// A format that the backend knows by name and does not compute with.
    #[error("{files}: `{path}`: the layer is in the {format} format ({found}): {hint}")]
    Unsupported {
        /// The layer's name.
        path: String,
        /// The files of its tensors.
        files: String,
        /// The format's name.
        format: String,
        /// The tensors that give it away.
        found: String,
        /// The way out.
        hint: String,
    },
    /// The config promises something other than what the tensors are.
    #[error(
        "{files}: `{path}`: the tensors have {found}, but the quantization_config says {promised}: {hint}"
    )]
    Contradiction {
        /// The layer's name.
        path: String,
        /// The files of its tensors.
        files: String,
        /// What the tensors have.
        found: String,
        /// What the config says.
        promised: String,
        /// The way out.
        hint: String,
    },
    /// A tensor that the format has is missing.
    #[error("{files}: `{path}`: tensor `{path}.{tensor}` is missing, found {found}")]
    Missing {
        /// The layer's name.
        path: String,
        /// The files of its other tensors.
        files: String,
        /// The tensor's last name.
        tensor: String,
        /// The tensors that are there.
        found: String,
    },
    /// The tensors are not such as a layer can be made of.
    #[error("{files}: `{path}`: {source}")]
    Layer {
        /// The layer's name.
        path: String,
        /// The files of its tensors.
        files: String,
        /// What is wrong with them.
        source: LayerError,
    },
    /// A tensor could not be read.
    #[error("{}: tensor `{tensor}`: {reason}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// The tensor's full name.
        tensor: String,
        /// Why not.
        reason: String,
    },
    /// A loader panicked.
    #[error("`{path}`: the loader of \"{dispatcher}\" panicked: {message}")]
    Panicked {
        /// The layer's name.
        path: String,
        /// The dispatcher.
        dispatcher: &'static str,
        /// What it said.
        message: String,
    },
}

impl LoadError {
    /// Adds the layer's name and files to what is wrong with its tensors.
    pub fn layer<E: Into<LayerError>>(source: &LayerSource<'_>) -> impl FnOnce(E) -> Self {
        let (path, files) = (source.path.to_owned(), source.files());
        move |error| Self::Layer { path, files, source: error.into() }
    }
}
