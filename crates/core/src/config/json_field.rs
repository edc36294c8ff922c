//! How each kind of field reads from and writes to `adapter_config.json`.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::alpha::LoraAlpha;
use super::layers::{LayerIndices, LayersPattern};
use super::patterns::PatternMap;
use super::targets::{ExcludeModules, TargetModules};
use super::values::{Bias, InitLoraWeights, TaskType};

/// A type of field. `read` answers `None` to a value it cannot take, `write` to a number JSON cannot hold.
pub(super) trait JsonField: Sized {
    /// The values that are taken, for the error about another one.
    const EXPECTED: &'static str;

    fn read(value: &Value) -> Option<Self>;

    fn write(&self) -> Option<Value>;
}

/// A switch. `null` is off, as it is for Python; some trainers write it so.
impl JsonField for bool {
    const EXPECTED: &'static str = "true or false";

    fn read(value: &Value) -> Option<Self> {
        if value.is_null() { Some(false) } else { value.as_bool() }
    }

    fn write(&self) -> Option<Value> {
        Some(Value::Bool(*self))
    }
}

impl JsonField for i64 {
    const EXPECTED: &'static str = "an integer";

    fn read(value: &Value) -> Option<Self> {
        value.as_i64()
    }

    fn write(&self) -> Option<Value> {
        Some(Value::from(*self))
    }
}

impl JsonField for f64 {
    const EXPECTED: &'static str = "a number";

    fn read(value: &Value) -> Option<Self> {
        value.as_f64()
    }

    fn write(&self) -> Option<Value> {
        serde_json::Number::from_f64(*self).map(Value::Number)
    }
}

impl JsonField for String {
    const EXPECTED: &'static str = "a string";

    fn read(value: &Value) -> Option<Self> {
        value.as_str().map(str::to_owned)
    }

    fn write(&self) -> Option<Value> {
        Some(Value::from(self.as_str()))
    }
}

impl JsonField for Value {
    const EXPECTED: &'static str = "any value";

    fn read(value: &Value) -> Option<Self> {
        Some(value.clone())
    }

    fn write(&self) -> Option<Value> {
        Some(self.clone())
    }
}

impl<T: JsonField> JsonField for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;

    fn read(value: &Value) -> Option<Self> {
        if value.is_null() { Some(None) } else { T::read(value).map(Some) }
    }

    fn write(&self) -> Option<Value> {
        self.as_ref().map_or(Some(Value::Null), T::write)
    }
}

impl JsonField for Vec<String> {
    const EXPECTED: &'static str = "a list of strings or null";

    fn read(value: &Value) -> Option<Self> {
        strings(value)
    }

    fn write(&self) -> Option<Value> {
        Some(Value::from(self.as_slice()))
    }
}

impl JsonField for LoraAlpha {
    const EXPECTED: &'static str = "a number";

    fn read(value: &Value) -> Option<Self> {
        value.as_i64().map(Self::Integer).or_else(|| value.as_f64().map(Self::Float))
    }

    fn write(&self) -> Option<Value> {
        match self {
            Self::Integer(alpha) => alpha.write(),
            Self::Float(alpha) => alpha.write(),
        }
    }
}

impl JsonField for TargetModules {
    const EXPECTED: &'static str = "a list of strings, a string or null";

    fn read(value: &Value) -> Option<Self> {
        value.as_str().map(Self::from).or_else(|| strings(value).map(Self::from))
    }

    fn write(&self) -> Option<Value> {
        Some(match self {
            Self::Names(names) => sorted(names),
            Self::Regex(pattern) => Value::from(pattern.as_str()),
            Self::AllLinear => Value::from("all-linear"),
        })
    }
}

impl JsonField for ExcludeModules {
    const EXPECTED: &'static str = TargetModules::EXPECTED;

    fn read(value: &Value) -> Option<Self> {
        value.as_str().map(Self::from).or_else(|| strings(value).map(Self::from))
    }

    fn write(&self) -> Option<Value> {
        Some(match self {
            Self::Names(names) => sorted(names),
            Self::Regex(pattern) => Value::from(pattern.as_str()),
        })
    }
}

impl JsonField for LayerIndices {
    const EXPECTED: &'static str = "an integer, a list of integers or null";

    fn read(value: &Value) -> Option<Self> {
        let many = || value.as_array()?.iter().map(Value::as_i64).collect::<Option<_>>().map(Self::Many);
        value.as_i64().map(Self::One).or_else(many)
    }

    fn write(&self) -> Option<Value> {
        Some(match self {
            Self::One(index) => Value::from(*index),
            Self::Many(indices) => Value::from(indices.as_slice()),
        })
    }
}

impl JsonField for LayersPattern {
    const EXPECTED: &'static str = "a string, a list of strings or null";

    fn read(value: &Value) -> Option<Self> {
        value.as_str().map(Self::from).or_else(|| strings(value).map(Self::Many))
    }

    fn write(&self) -> Option<Value> {
        Some(match self {
            Self::One(pattern) => Value::from(pattern.as_str()),
            Self::Many(patterns) => Value::from(patterns.as_slice()),
        })
    }
}

/// An object in the order of the file. `null` is an empty one.
impl<T: JsonField> JsonField for PatternMap<T> {
    const EXPECTED: &'static str = "an object from patterns to numbers (ranks are integers)";

    fn read(value: &Value) -> Option<Self> {
        if value.is_null() {
            return Some(Self::default());
        }
        value.as_object()?.iter().map(|(key, value)| Some((key.as_str(), T::read(value)?))).collect()
    }

    fn write(&self) -> Option<Value> {
        let entries = self.iter().map(|(key, value)| Some((key.to_owned(), value.write()?)));
        entries.collect::<Option<Map<_, _>>>().map(Value::Object)
    }
}

impl JsonField for Bias {
    const EXPECTED: &'static str = "\"none\", \"all\" or \"lora_only\"";

    fn read(value: &Value) -> Option<Self> {
        value.as_str().and_then(Self::from_word)
    }

    fn write(&self) -> Option<Value> {
        Some(Value::from(self.as_str()))
    }
}

impl JsonField for TaskType {
    const EXPECTED: &'static str = "\"SEQ_CLS\", \"SEQ_2_SEQ_LM\", \"CAUSAL_LM\", \"TOKEN_CLS\", \"QUESTION_ANS\", \
        \"FEATURE_EXTRACTION\" or null";

    fn read(value: &Value) -> Option<Self> {
        value.as_str().and_then(Self::from_word)
    }

    fn write(&self) -> Option<Value> {
        Some(Value::from(self.as_str()))
    }
}

impl JsonField for InitLoraWeights {
    const EXPECTED: &'static str = "true, false or the name of an initialiser";

    fn read(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(true) => Some(Self::True),
            Value::Bool(false) => Some(Self::False),
            Value::String(word) => Some(Self::from(word.as_str())),
            _ => None,
        }
    }

    fn write(&self) -> Option<Value> {
        Some(match self {
            Self::True => Value::Bool(true),
            Self::False => Value::Bool(false),
            Self::Gaussian => Value::from("gaussian"),
            Self::Other(word) => Value::from(word.as_str()),
        })
    }
}

fn strings(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect()
}

fn sorted(names: &BTreeSet<String>) -> Value {
    names.iter().map(String::as_str).collect()
}
