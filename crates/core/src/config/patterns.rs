//! `rank_pattern` and `alpha_pattern`: ordered maps from a pattern to a value, first hit wins.
//!
//! A key hits a module when `(.*\.)?(KEY)$` matches from the start of the module's full name: the key covers
//! whole dotted parts up to the end of the name.

use super::error::ConfigError;
use super::python_regex::PythonRegex;

/// A map in the order of the file, with unique keys: PEFT's `rank_pattern` and `alpha_pattern`.
///
/// Two maps with the same entries in another order are different, because the first key that hits decides.
///
/// ```
/// use qtuner_core::PatternMap;
///
/// let map = PatternMap::from([("q_proj", 16), ("layers\\.0\\..*", 4)]);
/// assert_eq!(map.get("q_proj"), Some(&16));
/// assert_eq!(map.iter().next(), Some(("q_proj", &16)));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatternMap<T> {
    entries: Vec<(String, T)>,
}

impl<T> PatternMap<T> {
    /// Appends a pattern; a pattern that is there already keeps its place and takes the new value.
    pub fn insert(&mut self, pattern: impl Into<String>, value: T) {
        let pattern = pattern.into();
        match self.entries.iter_mut().find(|(key, _)| *key == pattern) {
            Some(entry) => entry.1 = value,
            None => self.entries.push((pattern, value)),
        }
    }

    /// The value stored under exactly this pattern. Which pattern a module hits is for
    /// [`ScalingRules`](crate::ScalingRules) to say.
    pub fn get(&self, pattern: &str) -> Option<&T> {
        self.iter().find(|(key, _)| *key == pattern).map(|(_, value)| value)
    }

    /// The entries, first to last.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.entries.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// How many patterns there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no pattern at all.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl<T> Default for PatternMap<T> {
    fn default() -> Self {
        Self { entries: Vec::new() }
    }
}

impl<K: Into<String>, T> FromIterator<(K, T)> for PatternMap<T> {
    fn from_iter<I: IntoIterator<Item = (K, T)>>(entries: I) -> Self {
        let mut map = Self::default();
        for (pattern, value) in entries {
            map.insert(pattern, value);
        }
        map
    }
}

impl<K: Into<String>, T, const N: usize> From<[(K, T); N]> for PatternMap<T> {
    fn from(entries: [(K, T); N]) -> Self {
        entries.into_iter().collect()
    }
}

/// A [`PatternMap`] ready to be asked about modules.
#[derive(Debug, Clone)]
pub(super) struct CompiledPatterns<T> {
    entries: Vec<(PythonRegex, T)>,
}

impl<T: Copy> CompiledPatterns<T> {
    /// Compiles the keys. `field` names the map in errors.
    pub(super) fn new(field: &'static str, map: &PatternMap<T>) -> Result<Self, ConfigError> {
        let compile = |(key, value): (&str, &T)| Ok((PythonRegex::ending(field, key)?, *value));
        Ok(Self { entries: map.iter().map(compile).collect::<Result<_, _>>()? })
    }

    /// The first key that hits `module`, with its value.
    pub(super) fn find(&self, module: &str) -> Result<Option<(&str, T)>, ConfigError> {
        for (key, value) in &self.entries {
            if key.is_match(module)? {
                return Ok(Some((key.pattern(), *value)));
            }
        }
        Ok(None)
    }

    /// The keys, first to last.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|(key, _)| key.pattern())
    }
}
