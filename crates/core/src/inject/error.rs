//! Why an injection did not happen.

use crate::config::ConfigError;
use crate::registry::{DispatchError, RegistryError};
use std::fmt;

/// An injection that did not happen; the model is what it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InjectError {
    /// An adapter name that cannot stand in a parameter's name.
    #[error(
        "adapter name {name:?} cannot be used, expected a word without dots, slashes and control characters"
    )]
    AdapterName {
        /// The name.
        name: String,
    },
    /// The model has an adapter of that name.
    #[error("adapter \"{name}\" already exists: choose another name, or delete it first")]
    AdapterExists {
        /// The name.
        name: String,
    },
    /// The model has no adapter of that name.
    #[error("adapter \"{name}\" does not exist, found {known:?}")]
    UnknownAdapter {
        /// The name.
        name: String,
        /// The names that exist.
        known: Vec<String>,
    },
    /// The config cannot be used, or targets nothing.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The linked registry is broken.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A second adapter that trains biases.
    #[error(
        "adapters \"{first}\" and \"{second}\" both have `bias` other than \"none\": only one adapter can"
    )]
    SecondBias {
        /// The adapter that is there.
        first: String,
        /// The one that was to be added.
        second: String,
    },
    /// Two slots of one name: `rename` went wrong in the model.
    #[error(
        "the model has more than one slot called `{path}`, expected unique names: look at its `rename` attributes"
    )]
    DuplicateSlot {
        /// The name.
        path: String,
    },
    /// Layers that could not be adapted, all of them.
    #[error("{} of the targeted layers cannot be adapted:{}", problems.len(), Listed(problems))]
    Layers {
        /// One for each layer.
        problems: Vec<Problem>,
    },
}

/// Why one layer cannot be adapted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The module that was targeted is not a linear layer in a slot.
    #[error(
        "`{path}`: targeted, but it is not a linear layer in a slot: narrow `target_modules`, or exclude it"
    )]
    NotASlot {
        /// The module's name.
        path: String,
    },
    /// A backend's, or the registry's, reason.
    #[error(transparent)]
    Dispatch(#[from] DispatchError),
    /// A rank or alpha that cannot be told or used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A layer that would cut the gradient off: adapters before it would learn nothing, without a word.
    #[error(
        "`{path}`: {layer} passes no gradient to its input, so adapters on layers before it would learn nothing: load \
        adapters frozen, or have this layer, targeted or not, in a format that can be trained through"
    )]
    NoGradient {
        /// The layer's name.
        path: String,
        /// The layer.
        layer: String,
    },
    /// A parameter that cannot be frozen.
    #[error("`{path}` is computed from other tensors, expected a leaf that can be frozen: detach it")]
    NotALeaf {
        /// The parameter's name.
        path: String,
    },
}

struct Listed<'a>(&'a [Problem]);

impl fmt::Display for Listed<'_> {
    /// One line each; a model with hundreds of layers mostly has one problem hundreds of times.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 8;
        for problem in self.0.iter().take(SHOWN) {
            write!(f, "\n  {problem}")?;
        }
        if self.0.len() > SHOWN {
            write!(f, "\n  and {} more", self.0.len() - SHOWN)?;
        }
        Ok(())
    }
}
