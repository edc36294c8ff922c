//! `adapter_config.json`: one object, two spaces of indent, sorted keys, every field of PEFT's `LoraConfig`.
//!
//! Differences from PEFT's own writing, all readable by it: sets are sorted lists, and the entries of
//! `rank_pattern` and `alpha_pattern` keep their order, on which their meaning depends.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::error::ConfigError;
use super::json_field::JsonField;
use super::layers::LayerIndices;
use super::lora_config::LoraConfig;
use super::other_fields::{OTHER_FIELDS, OtherField, Written};
use super::python_json;

/// The only `peft_type` that is read or written.
const LORA: &str = "LORA";

macro_rules! fields {
    ($($member:ident: $key:literal),* $(,)?) => {
        /// Moves the fields of the struct from the file's object into `config`. Absent ones keep their
        /// default.
        fn read_fields(object: &mut Map<String, Value>, config: &mut LoraConfig) -> Result<(), ConfigError> {
            $(if let Some(value) = object.remove($key) {
                config.$member = read($key, &value)?;
            })*
            Ok(())
        }

        fn write_fields(config: &LoraConfig, object: &mut BTreeMap<String, Value>) -> Result<(), ConfigError> {
            $(object.insert($key.to_owned(), write($key, &config.$member)?);)*
            Ok(())
        }
    };
}

fields! {
    rank: "r",
    lora_alpha: "lora_alpha",
    lora_dropout: "lora_dropout",
    target_modules: "target_modules",
    exclude_modules: "exclude_modules",
    layers_to_transform: "layers_to_transform",
    layers_pattern: "layers_pattern",
    rank_pattern: "rank_pattern",
    alpha_pattern: "alpha_pattern",
    bias: "bias",
    use_rslora: "use_rslora",
    use_dora: "use_dora",
    lora_bias: "lora_bias",
    init_lora_weights: "init_lora_weights",
    fan_in_fan_out: "fan_in_fan_out",
    modules_to_save: "modules_to_save",
    task_type: "task_type",
    base_model_name_or_path: "base_model_name_or_path",
    revision: "revision",
    inference_mode: "inference_mode",
    peft_version: "peft_version",
    auto_mapping: "auto_mapping",
}

impl LoraConfig {
    /// Reads the text of an `adapter_config.json`, of any PEFT version.
    ///
    /// A missing field has its default. A field that is not known is kept in [`extra`](Self::extra) and named
    /// in a warning; so is a `runtime_config`, which is dropped. A byte order mark is passed over. The values
    /// are not judged: that is for [`validate`](Self::validate).
    ///
    /// ```
    /// use qtuner_core::{ConfigError, LoraConfig};
    ///
    /// let config = LoraConfig::from_json(r#"{"peft_type": "LORA", "r": 4, "target_modules": ["q_proj"]}"#)?;
    /// assert_eq!((config.rank, config.lora_dropout), (4, 0.0));
    ///
    /// let wrong = LoraConfig::from_json(r#"{"peft_type": "LORA", "r": "4"}"#);
    /// assert_eq!(wrong.unwrap_err().to_string(), r#"r is the string "4", expected an integer"#);
    /// # Ok::<(), ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// [`ConfigError::Json`], [`ConfigError::NotAnObject`], [`ConfigError::MissingPeftType`],
    /// [`ConfigError::OtherPeftType`], or [`ConfigError::InvalidField`] for the first field with a value of
    /// the wrong kind.
    pub fn from_json(text: &str) -> Result<Self, ConfigError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut object = match serde_json::from_str(text) {
            Ok(Value::Object(object)) => object,
            Ok(other) => return Err(ConfigError::NotAnObject { found: describe(&other) }),
            Err(error) => return Err(ConfigError::Json { reason: syntax_problem(text, &error) }),
        };
        match object.remove("peft_type") {
            Some(Value::String(method)) if method == LORA => {}
            Some(Value::Null) | None => return Err(ConfigError::MissingPeftType),
            Some(other) => return Err(ConfigError::OtherPeftType { found: describe(&other) }),
        }
        if object.remove("runtime_config").is_some() {
            tracing::warn!(
                "the adapter config has a runtime_config, which belongs to a running program: dropped"
            );
        }
        if object.get("peft_version").is_some_and(Value::is_null) {
            object.remove("peft_version");
        }
        let mut config = Self::default();
        read_fields(&mut object, &mut config)?;
        let is_default =
            |key: &str, value: &Value| OtherField::find(key).is_some_and(|field| field.default() == *value);
        config.extra = object.into_iter().filter(|(key, value)| !is_default(key, value)).collect();
        let unknown: Vec<_> = config.unknown_fields().collect();
        if !unknown.is_empty() {
            tracing::warn!(fields = ?unknown, "unknown fields in the adapter config: kept, without effect");
        }
        Ok(config)
    }

    /// The text of an `adapter_config.json` that PEFT reads: the same bytes for the same config.
    /// `inference_mode` is written as `true`, as PEFT does.
    ///
    /// ```
    /// use qtuner_core::LoraConfig;
    ///
    /// let config = LoraConfig::new(["v_proj", "q_proj"]);
    /// let text = config.to_json()?;
    /// assert!(text.starts_with("{\n  \"alora_invocation_tokens\": null,\n  \"alpha_pattern\": {},\n"));
    /// assert_eq!(LoraConfig::from_json(&text)?.target_modules, config.target_modules);
    /// # Ok::<(), qtuner_core::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// [`ConfigError::InvalidField`] for a number that is not finite, which JSON cannot hold.
    pub fn to_json(&self) -> Result<String, ConfigError> {
        let mut object: BTreeMap<String, Value> = OTHER_FIELDS
            .iter()
            .filter(|field| field.written == Written::Always)
            .map(|field| (field.key.to_owned(), field.default()))
            .collect();
        let extra = self.extra.iter().filter(|(key, _)| *key != "runtime_config");
        object.extend(extra.map(|(key, value)| (key.clone(), sort_keys(value))));
        write_fields(self, &mut object)?;
        object.insert("peft_type".to_owned(), Value::from(LORA));
        object.insert("inference_mode".to_owned(), Value::Bool(true));
        // PEFT 0.20 takes a lone 0 beside a layers_pattern for "no layers given"; the list it understands.
        if self.layers_pattern.is_some() && self.layers_to_transform == Some(LayerIndices::One(0)) {
            object.insert("layers_to_transform".to_owned(), Value::from([0].as_slice()));
        }
        Ok(python_json::to_string(&Value::Object(object.into_iter().collect())))
    }
}

fn read<T: JsonField>(field: &'static str, value: &Value) -> Result<T, ConfigError> {
    let invalid = || ConfigError::InvalidField { field, found: describe(value), expected: T::EXPECTED };
    T::read(value).ok_or_else(invalid)
}

fn write<T: JsonField>(field: &'static str, value: &T) -> Result<Value, ConfigError> {
    let not_finite =
        || ConfigError::InvalidField { field, found: "not finite".to_owned(), expected: "a finite number" };
    value.write().ok_or_else(not_finite)
}

/// A value that comes from the outside, with the keys of every object in it sorted.
fn sort_keys(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let sorted: BTreeMap<_, _> =
                object.iter().map(|(key, value)| (key.clone(), sort_keys(value))).collect();
            Value::Object(sorted.into_iter().collect())
        }
        Value::Array(items) => items.iter().map(sort_keys).collect(),
        other => other.clone(),
    }
}

/// A value in the words of an error, cut to a readable length.
fn describe(value: &Value) -> String {
    const LONGEST: usize = 60;
    let kind = match value {
        Value::Null => return "null".to_owned(),
        Value::Bool(_) => "the boolean",
        Value::Number(_) => "the number",
        Value::String(_) => "the string",
        Value::Array(_) => "the list",
        Value::Object(_) => "the object",
    };
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        None => format!("{kind} {text}"),
        Some((end, _)) => format!("{kind} {}...", &text[..end]),
    }
}

/// The parser's words; where the line holds one of Python's non-finite floats, that is the likely cause.
fn syntax_problem(text: &str, error: &serde_json::Error) -> String {
    let line = text.lines().nth(error.line().saturating_sub(1)).unwrap_or_default();
    if line.contains("NaN") || line.contains("Infinity") {
        format!("{error}; NaN and Infinity are Python's and not JSON's: replace them by numbers")
    } else {
        error.to_string()
    }
}
