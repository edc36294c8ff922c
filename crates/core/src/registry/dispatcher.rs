//! One entry of the registry.

use super::{Claim, DispatchError, LoadFn};
use crate::{Layer, LoraLayer, LoraOptions};
use std::fmt;

/// The decision whether a layer is a backend's; it looks and changes nothing.
pub type ClaimFn = fn(&dyn Layer) -> Claim;
/// The check of one adapter's options against one layer; it looks and changes nothing.
pub type CheckFn = fn(&dyn Layer, &LoraOptions) -> Result<(), DispatchError>;
/// The construction of a wrapper over a second handle on the layer.
pub type WrapFn = fn(&dyn Layer, &str, &LoraOptions) -> Result<Box<dyn LoraLayer>, DispatchError>;

/// Which layers a backend claims, and how it wraps them.
///
/// Const-constructible, so that it can be registered at link time; see the [module's documentation](crate::registry).
#[derive(Clone, Copy)]
pub struct Dispatcher {
    name: &'static str,
    priority: i16,
    source: Source,
    claims: ClaimFn,
    check: CheckFn,
    wrap: WrapFn,
    load: Option<LoadFn>,
}

impl Dispatcher {
    /// An entry called `name`, of priority 0; `source` is best written with [`source!`](crate::source).
    pub const fn new(
        name: &'static str,
        source: Source,
        claims: ClaimFn,
        check: CheckFn,
        wrap: WrapFn,
    ) -> Self {
        Self { name, priority: 0, source, claims, check, wrap, load: None }
    }

    /// With another priority: higher is asked first. The dense layers' is `i16::MIN`.
    #[must_use]
    pub const fn with_priority(self, priority: i16) -> Self {
        Self { priority, ..self }
    }

    /// With a loader of checkpoint layers.
    #[must_use]
    pub const fn with_loader(self, load: LoadFn) -> Self {
        Self { load: Some(load), ..self }
    }

    /// The loader of checkpoint layers, if the backend has one.
    pub const fn loader(&self) -> Option<LoadFn> {
        self.load
    }

    /// The entry's name, unique in a registry.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Higher is asked first.
    pub const fn priority(&self) -> i16 {
        self.priority
    }

    /// Where the entry comes from.
    pub const fn source(&self) -> Source {
        self.source
    }

    /// Whether the backend takes `layer`.
    pub fn claims(&self, layer: &dyn Layer) -> Claim {
        (self.claims)(layer)
    }

    /// Whether the backend can do what `options` ask, on a layer that it claims.
    ///
    /// # Errors
    /// What it cannot do.
    pub fn check(&self, layer: &dyn Layer, options: &LoraOptions) -> Result<(), DispatchError> {
        (self.check)(layer, options)
    }

    /// A wrapper with a fresh adapter, over a second handle on `layer`, which stays as it is.
    ///
    /// # Errors
    /// What went wrong; nothing has changed then.
    pub fn wrap(
        &self,
        layer: &dyn Layer,
        adapter_name: &str,
        options: &LoraOptions,
    ) -> Result<Box<dyn LoraLayer>, DispatchError> {
        (self.wrap)(layer, adapter_name, options)
    }

    pub(super) fn described(&self) -> String {
        format!("\"{}\" of {}", self.name, self.source)
    }
}

impl fmt::Debug for Dispatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dispatcher")
            .field("name", &self.name)
            .field("priority", &self.priority)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

/// The package, and the place in it, that an entry comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// `CARGO_PKG_NAME`.
    pub package: &'static str,
    /// `CARGO_PKG_VERSION`.
    pub version: &'static str,
    /// The source file.
    pub file: &'static str,
    /// The line in it.
    pub line: u32,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({}:{})", self.package, self.version, self.file, self.line)
    }
}

/// The place where it stands, as a [`Source`].
#[macro_export]
macro_rules! source {
    () => {
        $crate::registry::Source {
            package: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            file: file!(),
            line: line!(),
        }
    };
}

/// Registers a [`Dispatcher`](crate::Dispatcher) constant at link time.
///
/// ```
/// use qtuner_core::registry::{Claim, DispatchError};
/// use qtuner_core::{dense, register_dispatcher, source, Dispatcher, Layer, LoraLayer, LoraOptions, Registry};
///
/// fn claims(_: &dyn Layer) -> Claim {
///     Claim::No // a backend looks at the layer: is it one of mine?
/// }
///
/// fn check(_: &dyn Layer, _: &LoraOptions) -> Result<(), DispatchError> {
///     Ok(())
/// }
///
/// fn wrap(layer: &dyn Layer, adapter: &str, options: &LoraOptions) -> Result<Box<dyn LoraLayer>, DispatchError> {
///     dense::DISPATCHER.wrap(layer, adapter, options)
/// }
///
/// pub const DISPATCHER: Dispatcher = Dispatcher::new("toy", source!(), claims, check, wrap);
/// register_dispatcher!(DISPATCHER);
///
/// # fn main() {
/// assert!(Registry::linked().unwrap().expect(&["toy"]).is_ok());
/// # }
/// ```
#[macro_export]
macro_rules! register_dispatcher {
    ($dispatcher:expr) => {
        $crate::inventory::submit! { $dispatcher }
    };
}
