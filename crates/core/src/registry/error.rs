//! What can go wrong in the table itself, and in asking it.

use super::{NearMiss, Source};
use crate::{LayerError, TunerError};

/// A table that cannot be made, or lacks what a program needs.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// Two dispatchers of one name.
    #[error("dispatcher \"{name}\" is registered twice, by {first} and by {second}: link only one of them")]
    DuplicateName {
        /// The name.
        name: &'static str,
        /// Where one comes from.
        first: Source,
        /// Where the other comes from.
        second: Source,
    },
    /// A dispatcher that the program needs is missing.
    #[error("dispatcher \"{name}\" is not linked, found {linked:?}: {hint}")]
    NotLinked {
        /// The name that was expected.
        name: String,
        /// The names that are there.
        linked: Vec<&'static str>,
        /// The line that links it.
        hint: String,
    },
}

/// Why a layer did not get a wrapper.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DispatchError {
    /// Nobody takes the layer.
    #[error("{}", no_backend(path, layer, linked, near_misses, hint.as_deref()))]
    NoBackend {
        /// The layer's name.
        path: String,
        /// The layer.
        layer: String,
        /// The dispatchers that were asked.
        linked: Vec<&'static str>,
        /// Those that almost took it, and why they did not.
        near_misses: Vec<NearMiss>,
        /// The line that links the backend of the layer's format.
        hint: Option<String>,
    },
    /// Two dispatchers of one priority take the layer.
    #[error(
        "`{path}`: claimed at priority {priority} by both {first} and {second}: give one of them a higher priority"
    )]
    Ambiguous {
        /// The layer's name.
        path: String,
        /// Their priority.
        priority: i16,
        /// One of them, with its package.
        first: String,
        /// The other, with its package.
        second: String,
    },
    /// The package that provides the layer is too old (or not of the kind that the dispatcher knows).
    #[error("the layer comes from {found}, expected {expected}: {hint}")]
    IncompatibleVersion {
        /// The package and its version.
        found: String,
        /// The package and version asked for.
        expected: String,
        /// The way out.
        hint: String,
    },
    /// An option that the backend does not have.
    #[error("{backend} does not support {option}: {hint}")]
    UnsupportedOption {
        /// The backend.
        backend: &'static str,
        /// The option, as the config spells it.
        option: String,
        /// The way out.
        hint: String,
    },
    /// A backend panicked.
    #[error("`{path}`: dispatcher {dispatcher} panicked: {message}")]
    Panicked {
        /// The layer's name.
        path: String,
        /// The dispatcher, with its package.
        dispatcher: String,
        /// What it said.
        message: String,
    },
    /// The wrapper could not be made.
    #[error(transparent)]
    Tuner(#[from] TunerError),
    /// The layer failed.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// Any of the above, with the layer's name.
    #[error("`{path}`: {source}")]
    At {
        /// The layer's name.
        path: String,
        /// What went wrong there.
        source: Box<DispatchError>,
    },
}

impl DispatchError {
    /// Adds the layer's name, unless the error says it already.
    #[must_use]
    pub fn at(self, path: &str) -> Self {
        match self {
            Self::NoBackend { .. } | Self::Ambiguous { .. } | Self::Panicked { .. } | Self::At { .. } => self,
            error if path.is_empty() => error,
            error => Self::At { path: path.to_owned(), source: Box::new(error) },
        }
    }
}

fn no_backend(
    path: &str,
    layer: &str,
    linked: &[&str],
    near_misses: &[NearMiss],
    hint: Option<&str>,
) -> String {
    let declined = near_misses.iter().map(|near_miss| format!("; {near_miss}"));
    let hint = hint.iter().map(|hint| format!("; {hint}"));
    let more: String = declined.chain(hint).collect();
    format!("`{path}`: no backend takes {layer}; linked: {}{more}", linked.join(", "))
}
