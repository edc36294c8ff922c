//! PEFT's fields that [`LoraConfig`] has no member for: their defaults, and whether another value is refused.
//!
//! They live in `LoraConfig::extra`, so that a file keeps them when it is saved again.

use serde_json::Value;

use super::error::{ConfigError, ConfigWarning};
use super::lora_config::LoraConfig;

/// One such field.
pub(super) struct OtherField {
    pub(super) key: &'static str,
    /// PEFT's default, as JSON.
    default: &'static str,
    role: Role,
    pub(super) written: Written,
}

/// When a field is written to the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// Always, as [`PEFT_VERSION`](crate::config::PEFT_VERSION) does.
    Always,
    /// When it is not the default: that version does not know the field and would warn of it.
    IfSet,
}

/// What a value other than the default does.
enum Role {
    /// It changes the adapter in a way that is not implemented.
    Refused { hint: &'static str },
    /// It belongs to the initialiser of this name, and does nothing with another; PEFT warns too.
    OfInitialiser(&'static str),
    /// It does nothing by itself: it refines a field that is refused.
    Inert,
}

const PLAIN_LORA: &str = "only plain LoRA is implemented; set it to null";

const fn refused(key: &'static str, default: &'static str, hint: &'static str) -> OtherField {
    OtherField { key, default, role: Role::Refused { hint }, written: Written::Always }
}

const fn of_initialiser(key: &'static str, default: &'static str, init: &'static str) -> OtherField {
    OtherField { key, default, role: Role::OfInitialiser(init), written: Written::Always }
}

const fn inert(key: &'static str, default: &'static str) -> OtherField {
    OtherField { key, default, role: Role::Inert, written: Written::Always }
}

pub(super) const OTHER_FIELDS: &[OtherField] = &[
    refused("alora_invocation_tokens", "null", PLAIN_LORA),
    refused("arrow_config", "null", PLAIN_LORA),
    of_initialiser("corda_config", "null", "corda"),
    refused("ensure_weight_tying", "false", "leave tied embeddings out of the targets and set it to false"),
    of_initialiser("eva_config", "null", "eva"),
    OtherField { written: Written::IfSet, ..refused("kasa_config", "null", PLAIN_LORA) },
    refused("layer_replication", "null", "build the model with its layers repeated and set it to null"),
    of_initialiser("loftq_config", "{}", "loftq"),
    of_initialiser("lora_ga_config", "null", "lora_ga"),
    refused("megatron_config", "null", "tensor-parallel linear layers are not implemented; set it to null"),
    inert("megatron_core", "\"megatron.core\""),
    refused("monteclora_config", "null", PLAIN_LORA),
    inert("qalora_group_size", "16"),
    refused("target_parameters", "null", "name modules in target_modules instead and set it to null"),
    refused("trainable_token_indices", "null", "embeddings are not trained; set it to null"),
    refused("use_bdlora", "null", PLAIN_LORA),
    refused("use_qalora", "false", "only plain LoRA is implemented; set it to false"),
    refused("velora_config", "null", PLAIN_LORA),
];

impl OtherField {
    /// The field of this name.
    pub(super) fn find(key: &str) -> Option<&'static OtherField> {
        OTHER_FIELDS.iter().find(|field| field.key == key)
    }

    /// PEFT's default.
    pub(super) fn default(&self) -> Value {
        serde_json::from_str(self.default).expect("the table holds JSON")
    }

    /// Whether a value asks for nothing: the default, or what Python takes for "not given".
    fn is_idle(&self, value: &Value) -> bool {
        *value == self.default()
            || matches!(value, Value::Null | Value::Bool(false))
            || *value == Value::Array(Vec::new())
    }
}

/// The fields that are set and not implemented.
pub(super) fn unsupported(config: &LoraConfig) -> impl Iterator<Item = ConfigError> {
    set_fields(config).filter_map(|(field, value)| match field.role {
        Role::Refused { hint } => {
            Some(ConfigError::Unsupported { field: field.key, value: value.to_string(), hint })
        }
        Role::OfInitialiser(_) | Role::Inert => None,
    })
}

/// The fields that are set and do nothing.
pub(super) fn ignored(config: &LoraConfig) -> impl Iterator<Item = ConfigWarning> {
    set_fields(config).filter_map(|(field, _)| match field.role {
        Role::OfInitialiser(initialiser) => Some(ConfigWarning::IgnoredField {
            field: field.key,
            reason: format!("it only matters with init_lora_weights = \"{initialiser}\""),
        }),
        Role::Refused { .. } | Role::Inert => None,
    })
}

fn set_fields(config: &LoraConfig) -> impl Iterator<Item = (&'static OtherField, &Value)> {
    let known = config.extra.iter().filter_map(|(key, value)| Some((OtherField::find(key)?, value)));
    known.filter(|(field, value)| !field.is_idle(value))
}
