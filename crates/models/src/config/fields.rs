//! Typed reading of a config's keys, with errors that name the file and the key.

use crate::ModelError;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// The largest size that a config may give: above it, products of two sizes would overflow.
const MAX_SIZE: i64 = 1 << 31;

/// The keys of one JSON object of a config file. `null` is read as an absent key, but see [`has`](Self::has).
#[derive(Debug, Clone)]
pub(super) struct Fields<'a> {
    path: &'a Path,
    prefix: String,
    object: &'a Map<String, Value>,
    /// Where keys are read that the object does not have.
    under: Option<&'a Fields<'a>>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(path: &'a Path, object: &'a Map<String, Value>) -> Self {
        Self { path, prefix: String::new(), object, under: None }
    }

    /// The keys of the object under `key`, if it is there.
    pub(super) fn object(&self, key: &str) -> Result<Option<Self>, ModelError> {
        let read = |value: &'a Value| value.as_object();
        let object = self.optional(key, "an object", read)?;
        Ok(object.map(|object| Self { path: self.path, prefix: self.name(key), object, under: None }))
    }

    /// These keys, and those of `under` that are not among them.
    pub(super) fn over<'b>(self, under: Option<&'b Fields<'b>>) -> Fields<'b>
    where
        'a: 'b,
    {
        Fields { under, ..self }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.object.is_empty()
    }

    /// Whether the key is there, be it `null`: for keys whose default is not what `null` means.
    pub(super) fn has(&self, key: &str) -> bool {
        self.object.contains_key(key)
    }

    /// A size: an integer from 1 to 2^31.
    pub(super) fn size(&self, key: &str) -> Result<i64, ModelError> {
        self.optional_size(key)?.ok_or_else(|| self.missing(key, "a positive integer"))
    }

    pub(super) fn optional_size(&self, key: &str) -> Result<Option<i64>, ModelError> {
        let read = |value: &Value| value.as_i64().filter(|size| (1..=MAX_SIZE).contains(size));
        self.optional(key, "an integer from 1 to 2^31", read)
    }

    /// A size that may be 0.
    pub(super) fn optional_count(&self, key: &str) -> Result<Option<i64>, ModelError> {
        let read = |value: &Value| value.as_i64().filter(|count| (0..=MAX_SIZE).contains(count));
        self.optional(key, "an integer from 0 to 2^31", read)
    }

    /// A finite number above zero.
    pub(super) fn positive(&self, key: &str) -> Result<f64, ModelError> {
        self.optional_positive(key)?.ok_or_else(|| self.missing(key, "a positive number"))
    }

    pub(super) fn optional_positive(&self, key: &str) -> Result<Option<f64>, ModelError> {
        let read = |value: &Value| value.as_f64().filter(|number| number.is_finite() && *number > 0.0);
        self.optional(key, "a positive number", read)
    }

    pub(super) fn optional_flag(&self, key: &str) -> Result<Option<bool>, ModelError> {
        self.optional(key, "true or false", Value::as_bool)
    }

    pub(super) fn string(&self, key: &str) -> Result<&'a str, ModelError> {
        self.optional_string(key)?.ok_or_else(|| self.missing(key, "a string"))
    }

    pub(super) fn optional_string(&self, key: &str) -> Result<Option<&'a str>, ModelError> {
        self.optional(key, "a string", |value| value.as_str())
    }

    pub(super) fn optional_strings(&self, key: &str) -> Result<Option<Vec<&'a str>>, ModelError> {
        let read = |value: &'a Value| value.as_array()?.iter().map(Value::as_str).collect();
        self.optional(key, "a list of strings", read)
    }

    /// Token ids: one, or a list of them; absent is none.
    pub(super) fn token_ids(&self, key: &str) -> Result<Vec<i64>, ModelError> {
        let read = |value: &Value| match value {
            Value::Array(ids) => ids.iter().map(Value::as_i64).collect(),
            id => Some(vec![id.as_i64()?]),
        };
        Ok(self.optional(key, "a token id or a list of them", read)?.unwrap_or_default())
    }

    pub(super) fn value(&self, key: &str) -> Option<&'a Value> {
        match (self.object.get(key), self.under) {
            (None, Some(under)) => under.value(key),
            (value, _) => value.filter(|value| !value.is_null()),
        }
    }

    /// The error for a key whose value cannot be used.
    pub(super) fn refuse(&self, key: &str, expected: impl Into<String>) -> ModelError {
        let found = self.value(key).map(Value::to_string);
        let absent = if self.has(key) { "null" } else { "missing" };
        ModelError::Config {
            path: self.path.to_owned(),
            key: self.name(key),
            found: found.unwrap_or_else(|| absent.to_owned()),
            expected: expected.into(),
        }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.path.to_owned()
    }

    fn missing(&self, key: &str, expected: &str) -> ModelError {
        self.refuse(key, expected)
    }

    fn optional<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ModelError> {
        match self.value(key) {
            None => Ok(None),
            Some(value) => read(value).map(Some).ok_or_else(|| self.refuse(key, expected)),
        }
    }

    fn name(&self, key: &str) -> String {
        match self.under {
            Some(under) if !self.has(key) && under.has(key) => under.name(key),
            _ if self.prefix.is_empty() => key.to_owned(),
            _ => format!("{}.{key}", self.prefix),
        }
    }
}
