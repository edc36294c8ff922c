//! A JSON object from a file that may be anything.

use crate::ModelError;
use serde_json::{Map, Value};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

/// Far above any real config or index.
const MAX_BYTES: u64 = 64 << 20;

/// The JSON object in the file at `path`; nothing if there is no such file.
pub(crate) fn read_json(path: &Path) -> Result<Option<Map<String, Value>>, ModelError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file.map_err(ModelError::io(path))?,
    };
    let mut text = String::new();
    let refuse = |reason: String| ModelError::Json { path: path.to_owned(), reason };
    let length = file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(|error| match error.kind() {
        ErrorKind::InvalidData => refuse("not UTF-8 text, expected JSON".to_owned()),
        _ => ModelError::io(path)(error),
    })?;
    if u64::try_from(length).is_ok_and(|length| length > MAX_BYTES) {
        return Err(refuse(format!("more than {MAX_BYTES} bytes, expected a JSON file")));
    }
    match serde_json::from_str(&text) {
        Ok(Value::Object(object)) => Ok(Some(object)),
        Ok(_) => Err(refuse("expected a JSON object".to_owned())),
        Err(error) => Err(refuse(format!("not JSON: {error}"))),
    }
}
