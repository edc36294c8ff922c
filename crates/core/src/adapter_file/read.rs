//! An adapter folder as it lies on the disk, before any model is asked.

use super::names::{PREFIX, with_prefix};
use super::{AdapterFileError, CONFIG_FILE, MAX_CONFIG_BYTES, MODEL_FILE, tensors};
use crate::config::LoraConfig;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use tch::Tensor;

/// What an adapter folder holds.
///
/// Who makes it: whoever wants to look at an adapter without a model. [`load_adapter`](super::load_adapter) reads the same.
///
/// ```no_run
/// use qtuner_core::adapter_file::StoredAdapter;
/// let adapter = StoredAdapter::read("my-adapter")?;
/// println!("rank {}, {} tensors", adapter.config.rank, adapter.tensors.len());
/// # Ok::<(), qtuner_core::AdapterFileError>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct StoredAdapter {
    /// The config, read and not yet [validated](LoraConfig::validate).
    pub config: LoraConfig,
    /// The tensors in the dtypes of the file, by PEFT's names: `base_model.model.<module>.lora_A.weight`.
    pub tensors: BTreeMap<String, Tensor>,
}

impl StoredAdapter {
    /// Reads `adapter_config.json` and `adapter_model.safetensors`.
    ///
    /// # Errors
    /// [`AdapterFileError`] with the file that is missing or damaged.
    pub fn read(folder: impl AsRef<Path>) -> Result<Self, AdapterFileError> {
        let folder = folder.as_ref();
        Ok(Self { config: read_config(folder)?, tensors: read_tensors(folder)? })
    }

    /// The adapted modules by the model's names, each with its `A [r, in]`.
    pub fn modules(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors.iter().filter_map(|(name, tensor)| {
            let (module, _) = name.strip_prefix(PREFIX)?.split_once(".lora_A.")?;
            Some((module, tensor))
        })
    }
}

fn read_config(folder: &Path) -> Result<LoraConfig, AdapterFileError> {
    let path = folder.join(CONFIG_FILE);
    let io = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => AdapterFileError::Missing { path: path.clone() },
        _ => AdapterFileError::Io { path: path.clone(), source },
    };
    let mut text = String::new();
    let file = File::open(&path).map_err(io)?;
    file.take(MAX_CONFIG_BYTES).read_to_string(&mut text).map_err(io)?;
    LoraConfig::from_json(&text).map_err(|source| AdapterFileError::Config { path: path.clone(), source })
}

fn read_tensors(folder: &Path) -> Result<BTreeMap<String, Tensor>, AdapterFileError> {
    let path = folder.join(MODEL_FILE);
    let bytes = std::fs::read(&path).map_err(|source| {
        let pickle = folder.join("adapter_model.bin");
        match source.kind() {
            std::io::ErrorKind::NotFound if pickle.exists() => AdapterFileError::Pickle { path: pickle },
            std::io::ErrorKind::NotFound => AdapterFileError::Missing { path: path.clone() },
            _ => AdapterFileError::Io { path: path.clone(), source },
        }
    })?;
    let tensors = tensors::decode(&bytes, &path)?;
    Ok(tensors.into_iter().map(|(name, tensor)| (with_prefix(&name), tensor)).collect())
}
