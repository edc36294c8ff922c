//! `config.json`: a model's architecture as data.

mod decoder;
mod family;
mod fields;
mod rope;
mod rope_keys;
#[cfg(test)]
mod tests;

pub use decoder::{
    Activation, Bias, Biases, BlockNorms, DecoderConfig, Head, LayerKind, NormWeight, QueryKeyNorm,
};
pub use rope::{RopeConfig, RopeScaling};

use crate::ModelError;
use crate::checkpoint::read_json;
use fields::Fields;
use std::path::Path;

impl DecoderConfig {
    /// Reads `config.json` in `folder`, and the end-of-text tokens of its `generation_config.json`, if there is one.
    ///
    /// # Errors
    /// [`ModelError::MissingFile`], [`ModelError::Json`], [`ModelError::UnknownModelType`], and [`ModelError::Config`] for a key
    /// that is missing or has an unusable value.
    pub fn read(folder: &Path) -> Result<Self, ModelError> {
        let path = folder.join("config.json");
        let object = read_json(&path)?.ok_or_else(|| ModelError::MissingFile {
            path: path.clone(),
            expected: "a Hugging Face folder with config.json and model.safetensors".to_owned(),
        })?;
        let mut config = family::read(&Fields::new(&path, &object))?;
        let path = folder.join("generation_config.json");
        if let Some(object) = read_json(&path)? {
            let ids = Fields::new(&path, &object).token_ids("eos_token_id")?;
            if !ids.is_empty() {
                config.eos_token_ids = ids;
            }
        }
        Ok(config)
    }

    /// The rotation of a kind of layers.
    pub(crate) fn rope_of(&self, kind: LayerKind) -> &RopeConfig {
        match kind {
            LayerKind::Global => &self.rope,
            LayerKind::Local => &self.local_rope,
        }
    }

    /// The window of a kind of layers.
    pub(crate) fn window_of(&self, kind: LayerKind) -> Option<i64> {
        match kind {
            LayerKind::Global => None,
            LayerKind::Local => self.sliding_window,
        }
    }
}
