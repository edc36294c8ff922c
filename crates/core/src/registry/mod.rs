//! Which backend takes which layer.
//!
//! Backends register a [`Dispatcher`] at link time with [`register_dispatcher!`](crate::register_dispatcher); an
//! application may also build a [`Registry`] by hand. Both doors lead to the same frozen, sorted table.
//!
//! Link-time registration has a trap: a crate that is only listed in `Cargo.toml` and never named in the code is not
//! linked, and its dispatcher is missing without a word. Name it once (`use qtuner_awq as _;`), or ask with
//! [`Registry::expect`]. The error for a layer that nobody takes lists what *is* linked.

mod claim;
mod dispatcher;
mod error;
mod known;
mod load;
mod load_error;
mod report;
mod source;

pub use claim::{Claim, NearMiss};
pub use dispatcher::{CheckFn, ClaimFn, Dispatcher, Source, WrapFn};
pub use error::{DispatchError, RegistryError};
pub use known::registration_hint;
pub use load::LoadFn;
pub use load_error::LoadError;
pub use source::{LayerSource, ReadTensor, TensorInfo};

use crate::{Layer, LoraLayer, LoraOptions};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

inventory::collect!(Dispatcher);

/// A frozen table of dispatchers, sorted by falling priority and then by name.
///
/// ```
/// use qtuner_core::Registry;
/// let registry = Registry::linked()?;
/// assert_eq!(registry.dispatchers().last().unwrap().name(), "linear");
/// # Ok::<(), qtuner_core::RegistryError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Registry {
    dispatchers: Vec<Dispatcher>,
}

impl Registry {
    /// The dispatchers that are linked into this program.
    ///
    /// # Errors
    /// [`RegistryError::DuplicateName`] when two packages registered one name.
    pub fn linked() -> Result<&'static Self, RegistryError> {
        static LINKED: OnceLock<Result<Registry, RegistryError>> = OnceLock::new();
        let linked = LINKED.get_or_init(|| Registry::new(inventory::iter::<Dispatcher>().copied()));
        linked.as_ref().map_err(Clone::clone)
    }

    /// A table of exactly these dispatchers.
    ///
    /// ```
    /// use qtuner_core::{Registry, dense};
    /// let registry = Registry::new([dense::DISPATCHER])?;
    /// assert!(registry.expect(&["awq"]).is_err());
    /// # Ok::<(), qtuner_core::RegistryError>(())
    /// ```
    ///
    /// # Errors
    /// [`RegistryError::DuplicateName`] when two of them have one name.
    pub fn new(dispatchers: impl IntoIterator<Item = Dispatcher>) -> Result<Self, RegistryError> {
        let mut dispatchers: Vec<Dispatcher> = dispatchers.into_iter().collect();
        dispatchers.sort_by(|left, right| {
            (right.priority(), left.name(), left.source().package).cmp(&(
                left.priority(),
                right.name(),
                right.source().package,
            ))
        });
        for (index, first) in dispatchers.iter().enumerate() {
            if let Some(second) = dispatchers[index + 1..].iter().find(|other| other.name() == first.name()) {
                return Err(RegistryError::DuplicateName {
                    name: first.name(),
                    first: first.source(),
                    second: second.source(),
                });
            }
        }
        Ok(Self { dispatchers })
    }

    /// The dispatchers in the order in which they are asked.
    pub fn dispatchers(&self) -> &[Dispatcher] {
        &self.dispatchers
    }

    /// Checks that dispatchers of these names are here: a program's guard against a backend that was not linked.
    ///
    /// # Errors
    /// [`RegistryError::NotLinked`] with the line that links the first one missing.
    pub fn expect(&self, names: &[&str]) -> Result<(), RegistryError> {
        let known = |name: &str| self.dispatchers.iter().any(|dispatcher| dispatcher.name() == name);
        match names.iter().find(|name| !known(name)) {
            None => Ok(()),
            Some(name) => Err(RegistryError::NotLinked {
                name: (*name).to_owned(),
                linked: self.names(),
                hint: registration_hint(name),
            }),
        }
    }

    /// The dispatcher that takes `layer`, after its checks of `options`.
    ///
    /// A dispatcher that panics is treated as one that does not take the layer, and is named in the error if no other does.
    ///
    /// # Errors
    /// [`DispatchError::NoBackend`] when nobody takes the layer, [`DispatchError::Ambiguous`] when two do at one
    /// priority, and whatever the dispatcher's own check says.
    pub fn dispatcher_for(
        &self,
        path: &str,
        layer: &dyn Layer,
        options: &LoraOptions,
    ) -> Result<&Dispatcher, DispatchError> {
        let dispatcher = self.claimant(path, layer)?;
        fenced(dispatcher, path, || dispatcher.check(layer, options))?.map_err(|error| error.at(path))?;
        Ok(dispatcher)
    }

    /// `layer` wrapped by the dispatcher that takes it, with a fresh adapter.
    ///
    /// # Errors
    /// Those of [`dispatcher_for`](Self::dispatcher_for) and of the wrapper's construction. `layer` is untouched.
    pub fn wrap(
        &self,
        path: &str,
        layer: &dyn Layer,
        adapter_name: &str,
        options: &LoraOptions,
    ) -> Result<Box<dyn LoraLayer>, DispatchError> {
        let dispatcher = self.dispatcher_for(path, layer, options)?;
        fenced(dispatcher, path, || dispatcher.wrap(layer, adapter_name, options))?
            .map_err(|error| error.at(path))
    }

    fn claimant(&self, path: &str, layer: &dyn Layer) -> Result<&Dispatcher, DispatchError> {
        let mut claimant: Option<&Dispatcher> = None;
        let mut near_misses = Vec::new();
        for dispatcher in &self.dispatchers {
            if claimant.is_some_and(|first| first.priority() != dispatcher.priority()) {
                break;
            }
            let near_miss = |reason| NearMiss { dispatcher: dispatcher.name(), reason };
            match fenced(dispatcher, path, || dispatcher.claims(layer)) {
                Err(panicked) => near_misses.push(near_miss(panicked.to_string())),
                Ok(Claim::No) => {}
                Ok(Claim::Almost(reason)) => near_misses.push(near_miss(reason)),
                Ok(Claim::Yes) => {
                    if let Some(first) = claimant.replace(dispatcher) {
                        return Err(DispatchError::Ambiguous {
                            path: path.to_owned(),
                            priority: first.priority(),
                            first: first.described(),
                            second: dispatcher.described(),
                        });
                    }
                }
            }
        }
        claimant.ok_or_else(|| DispatchError::NoBackend {
            path: path.to_owned(),
            layer: format!("{layer:?}"),
            linked: self.names(),
            near_misses,
            hint: layer.innermost().as_quantized().map(known::registration_hint_of),
        })
    }

    fn names(&self) -> Vec<&'static str> {
        self.dispatchers.iter().map(Dispatcher::name).collect()
    }
}

/// Runs a backend's code so that its panic is an error of that backend and of nobody else.
fn fenced<T>(dispatcher: &Dispatcher, path: &str, body: impl FnOnce() -> T) -> Result<T, DispatchError> {
    catch_unwind(AssertUnwindSafe(body)).map_err(|payload| {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        DispatchError::Panicked {
            path: path.to_owned(),
            dispatcher: dispatcher.described(),
            message: text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default(),
        }
    })
}
