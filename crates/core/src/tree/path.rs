//! A module's dotted name.

use std::fmt;

/// The dotted name of a module, such as `model.layers.0.self_attn.q_proj`; the root's is empty.
///
/// ```
/// use qtuner_core::ModulePath;
/// let path = ModulePath::root().child("model").child("layers").child(3);
/// assert_eq!(path.to_string(), "model.layers.3");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModulePath(String);

impl ModulePath {
    /// The model itself.
    pub fn root() -> Self {
        Self(String::new())
    }

    /// The name of a child. A name with dots in it stands for as many levels, as `#[module(rename = "a.b")]` may say.
    #[must_use]
    pub fn child(&self, name: impl fmt::Display) -> Self {
        if self.0.is_empty() { Self(name.to_string()) } else { Self(format!("{}.{name}", self.0)) }
    }

    /// Whether it names a bias, by PEFT's test: the last segment is `bias`.
    pub fn is_bias(&self) -> bool {
        self.0.rsplit('.').next() == Some("bias")
    }

    /// The dotted name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ModulePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
