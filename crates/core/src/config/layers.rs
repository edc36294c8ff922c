//! `layers_to_transform` and `layers_pattern`: only the layers with these numbers are adapted.
//!
//! The number of a layer is the first numeric part of the module's name that stands after the list's name and
//! inside something: `model.layers.3.mlp.experts.7.up` is in layer 3, and a top-level `layers.3.up` is in no
//! layer.

use super::error::ConfigError;
use super::lora_config::LoraConfig;
use super::python_regex::PythonRegex;

/// PEFT's `layers_to_transform`: one number or a list. An empty list counts as not given.
///
/// ```
/// use qtuner_core::LayerIndices;
///
/// assert_eq!(LayerIndices::from(3), LayerIndices::One(3));
/// assert_eq!(LayerIndices::from([0, 1]), LayerIndices::Many(vec![0, 1]));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LayerIndices {
    /// A single layer.
    One(i64),
    /// Any of these layers.
    Many(Vec<i64>),
}

impl LayerIndices {
    /// The numbers.
    pub fn as_slice(&self) -> &[i64] {
        match self {
            Self::One(index) => std::slice::from_ref(index),
            Self::Many(indices) => indices,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }
}

impl From<i64> for LayerIndices {
    fn from(index: i64) -> Self {
        Self::One(index)
    }
}

impl From<Vec<i64>> for LayerIndices {
    fn from(indices: Vec<i64>) -> Self {
        Self::Many(indices)
    }
}

impl<const N: usize> From<[i64; N]> for LayerIndices {
    fn from(indices: [i64; N]) -> Self {
        Self::Many(indices.to_vec())
    }
}

/// PEFT's `layers_pattern`: the name of the list of layers, or several to try in order, each a regular
/// expression. An empty string or list counts as not given.
///
/// ```
/// use qtuner_core::LayersPattern;
///
/// assert_eq!(LayersPattern::from("h"), LayersPattern::One("h".into()));
/// assert_eq!(LayersPattern::from(["layers", "h"]), LayersPattern::Many(vec!["layers".into(), "h".into()]));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LayersPattern {
    /// A single name.
    One(String),
    /// Names to try in order.
    Many(Vec<String>),
}

impl LayersPattern {
    /// The names.
    pub fn as_slice(&self) -> &[String] {
        match self {
            Self::One(pattern) => std::slice::from_ref(pattern),
            Self::Many(patterns) => patterns,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::One(pattern) => pattern.is_empty(),
            Self::Many(patterns) => patterns.is_empty(),
        }
    }
}

impl From<&str> for LayersPattern {
    fn from(pattern: &str) -> Self {
        Self::One(pattern.to_owned())
    }
}

impl<S: Into<String>> From<Vec<S>> for LayersPattern {
    fn from(patterns: Vec<S>) -> Self {
        Self::Many(patterns.into_iter().map(Into::into).collect())
    }
}

impl<S: Into<String>, const N: usize> From<[S; N]> for LayersPattern {
    fn from(patterns: [S; N]) -> Self {
        Self::Many(patterns.into_iter().map(Into::into).collect())
    }
}

/// The two fields, compiled.
#[derive(Debug, Clone)]
pub(super) struct LayerFilter {
    indices: Vec<i64>,
    places: Vec<PythonRegex>,
}

impl LayerFilter {
    /// The filter that the config asks for, if it asks for one.
    pub(super) fn new(config: &LoraConfig) -> Result<Option<Self>, ConfigError> {
        let Some(indices) = config.layers_to_transform.as_ref().filter(|indices| !indices.is_empty()) else {
            return Ok(None);
        };
        let pattern = config.layers_pattern.as_ref().filter(|pattern| !pattern.is_empty());
        let places = match pattern {
            None => vec![PythonRegex::any_layer()],
            Some(pattern) => {
                pattern.as_slice().iter().map(|p| PythonRegex::layer_of(p)).collect::<Result<_, _>>()?
            }
        };
        Ok(Some(Self { indices: indices.as_slice().to_vec(), places }))
    }

    /// Whether `module` is in one of the wanted layers.
    pub(super) fn admits(&self, module: &str) -> Result<bool, ConfigError> {
        for place in &self.places {
            if let Some(index) = place.layer_index(module)? {
                return Ok(index.parse().is_ok_and(|index| self.indices.contains(&index)));
            }
        }
        Ok(false)
    }
}
