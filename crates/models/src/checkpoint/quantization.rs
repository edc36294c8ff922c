//! Where a folder says how it was quantized.

use super::read_json;
use crate::ModelError;
use serde_json::Value;
use std::path::Path;

/// Files of older tools, which hold nothing but the quantization's config.
const SEPARATE_FILES: [&str; 2] = ["quant_config.json", "quantize_config.json"];

/// The `quantization_config`: of `config.json`, or else `quant_config.json` (AutoAWQ before 0.2), or else
/// `quantize_config.json` (GPTQ's tools).
pub(super) fn read(folder: &Path) -> Result<Option<Value>, ModelError> {
    let path = folder.join("config.json");
    let config = read_json(&path)?.and_then(|mut config| config.remove("quantization_config"));
    match config.filter(|config| !config.is_null()) {
        Some(config) if config.is_object() => return Ok(Some(config)),
        Some(found) => {
            return Err(ModelError::Config {
                path,
                key: "quantization_config".to_owned(),
                found: found.to_string(),
                expected: "an object".to_owned(),
            });
        }
        None => {}
    }
    for file in SEPARATE_FILES {
        if let Some(config) = read_json(&folder.join(file))? {
            return Ok(Some(Value::Object(config)));
        }
    }
    Ok(None)
}
