//! A Hugging Face folder's tensors: one `model.safetensors`, or shards with an index.
//!
//! Files are mapped, not read: a tensor's bytes are copied once, when it is asked for, and their pages are released
//! then, so that the peak is about the size of the model and not twice that.

mod copy;
mod json;
mod map;
mod quantization;
mod shard;

pub(crate) use json::read_json;

use crate::ModelError;
use qtuner_core::registry::{ReadTensor, TensorInfo};
use qtuner_core::{LayerSource, LoadError};
use serde_json::Value;
use shard::Shard;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor};

const SINGLE_FILE: &str = "model.safetensors";
const INDEX_FILE: &str = "model.safetensors.index.json";

/// The tensors of a folder, by name, and what it says of its quantization.
///
/// ```no_run
/// use qtuner_models::Checkpoint;
/// let checkpoint = Checkpoint::open("my-model")?;
/// for (name, info) in checkpoint.tensors() {
///     println!("{name}: {info}");
/// }
/// # Ok::<(), qtuner_models::ModelError>(())
/// ```
#[derive(Debug)]
pub struct Checkpoint {
    folder: PathBuf,
    shards: Vec<Shard>,
    tensors: BTreeMap<String, Located>,
    quantization_config: Option<Value>,
}

/// A tensor and the shard that it is in.
#[derive(Debug)]
struct Located {
    shard: usize,
    info: TensorInfo,
}

impl Checkpoint {
    /// Opens the files of `folder` and checks their headers; no tensor is read yet.
    ///
    /// # Errors
    /// [`ModelError::MissingFile`], [`ModelError::Safetensors`] for a file that is not whole or whose header lies,
    /// [`ModelError::Json`] for an index that is not one, [`ModelError::MissingTensor`] for a tensor that the index promises and
    /// its shard does not have.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self, ModelError> {
        let folder = folder.as_ref();
        let quantization_config = quantization::read(folder)?;
        let mut checkpoint = Self {
            folder: folder.to_owned(),
            shards: Vec::new(),
            tensors: BTreeMap::new(),
            quantization_config,
        };
        let single = folder.join(SINGLE_FILE);
        let index = folder.join(INDEX_FILE);
        match read_json(&index)? {
            Some(content) if !single.exists() => checkpoint.open_shards(&index, &content)?,
            _ => checkpoint.open_single(single)?,
        }
        Ok(checkpoint)
    }

    /// The names of the tensors, with what their files say of them, sorted.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &TensorInfo)> {
        self.tensors.iter().map(|(name, located)| (name.as_str(), &located.info))
    }

    /// The `quantization_config` of `config.json`, or else of a file of its own.
    pub fn quantization_config(&self) -> Option<&Value> {
        self.quantization_config.as_ref()
    }

    /// What the file says of the tensor `name`, if it is there.
    pub fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(name).map(|located| &located.info)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The linear layer at `path`, as the loaders of the backends want it described.
    pub fn layer<'a>(&'a self, path: &'a str, compute_kind: Kind, device: Device) -> LayerSource<'a> {
        let prefix = format!("{path}.");
        let below = self.tensors.range(prefix.clone()..).take_while(|(name, _)| name.starts_with(&prefix));
        let tensors = below.map(|(name, located)| (name[prefix.len()..].to_owned(), located.info.clone()));
        LayerSource {
            path,
            tensors: tensors.collect(),
            quantization_config: self.quantization_config(),
            compute_kind,
            device,
            reader: self,
        }
    }

    fn open_single(&mut self, path: PathBuf) -> Result<(), ModelError> {
        let pickle = self.folder.join("pytorch_model.bin").exists();
        let expected = if pickle {
            "safetensors: pytorch_model.bin is a pickle, save the model with safe_serialization=True"
        } else {
            "a folder with model.safetensors, or with model.safetensors.index.json and its shards"
        };
        let shard = Shard::open(path, expected)?;
        let tensors = shard.tensors()?;
        self.tensors.extend(tensors.into_iter().map(|(name, info)| (name, Located { shard: 0, info })));
        self.shards.push(shard);
        Ok(())
    }

    fn open_shards(
        &mut self,
        index: &Path,
        content: &serde_json::Map<String, Value>,
    ) -> Result<(), ModelError> {
        let refuse = |reason: String| ModelError::Json { path: index.to_owned(), reason };
        let map = content.get("weight_map").and_then(Value::as_object);
        let map = map.ok_or_else(|| refuse("key `weight_map` is missing, expected an object".to_owned()))?;
        let mut found: BTreeMap<&str, BTreeMap<String, Located>> = BTreeMap::new();
        for (name, file) in map {
            let plain =
                file.as_str().filter(|file| Path::new(file).file_name().is_some_and(|last| last == *file));
            let file = plain.ok_or_else(|| {
                refuse(format!("tensor `{name}` is in {file}, expected the name of a file beside the index"))
            })?;
            if !found.contains_key(file) {
                let shard = Shard::open(self.folder.join(file), "this shard, which the index names")?;
                let tensors = shard.tensors()?.into_iter();
                let place = self.shards.len();
                found.insert(
                    file,
                    tensors.map(|(name, info)| (name, Located { shard: place, info })).collect(),
                );
                self.shards.push(shard);
            }
            let located = found.get_mut(file).and_then(|tensors| tensors.remove(name));
            let located = located.ok_or_else(|| ModelError::MissingTensor {
                folder: self.folder.join(file),
                tensor: name.clone(),
                hint: format!(", though {} places it there", index.display()),
            })?;
            self.tensors.insert(name.clone(), located);
        }
        Ok(())
    }
}

impl ReadTensor for Checkpoint {
    fn read(&self, name: &str, kind: Option<Kind>, device: Device) -> Result<Tensor, LoadError> {
        let located = self.tensors.get(name);
        let shard = located.and_then(|located| Some((self.shards.get(located.shard)?, &located.info)));
        let (shard, info) = shard.ok_or_else(|| LoadError::Read {
            file: self.folder.clone(),
            tensor: name.to_owned(),
            reason: "no file of the folder has it".to_owned(),
        })?;
        shard.read(name, info, kind, device)
    }
}
