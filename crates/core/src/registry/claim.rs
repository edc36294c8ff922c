//! What a dispatcher says of a layer.

use std::fmt;

/// Whether a dispatcher takes a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// It does.
    Yes,
    /// It has nothing to do with such layers.
    No,
    /// It is the layer's format, but this one cannot be taken: the reason, which is shown when nobody else takes it.
    Almost(String),
}

/// A dispatcher that almost took a layer, and why it did not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NearMiss {
    /// The dispatcher.
    pub dispatcher: &'static str,
    /// Its reason.
    pub reason: String,
}

impl fmt::Display for NearMiss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} declined: {}", self.dispatcher, self.reason)
    }
}
