//! A checkpoint's linear layer as a loader sees it: the tensors that are there, and a way to read them.
//!
//! Which format a layer has is decided by its tensors. The checkpoint's `quantization_config` is a cross-check and a
//! tie-breaker, for published configs omit things and contradict their own files.

use super::LoadError;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use tch::{Device, Kind, Tensor};

/// What a file says of one tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// The file that holds it.
    pub file: PathBuf,
    /// The dtype as the file spells it, such as `I32`.
    pub dtype: String,
    /// The dtype as libtorch knows it, if it does.
    pub kind: Option<Kind>,
    /// The shape.
    pub shape: Vec<i64>,
}

impl fmt::Display for TensorInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.dtype, self.shape)
    }
}

/// Reads tensors by their full names.
pub trait ReadTensor {
    /// A tensor's values: in the dtype of the file, or converted to `kind`.
    ///
    /// # Errors
    /// [`LoadError::Read`] with the file and the tensor.
    fn read(&self, name: &str, kind: Option<Kind>, device: Device) -> Result<Tensor, LoadError>;
}

/// One linear layer of a checkpoint, for [`Registry::load_layer`](super::Registry::load_layer).
///
/// Who makes it: whoever opens a checkpoint. Who reads it: the loaders of the backends.
#[derive(Clone)]
pub struct LayerSource<'a> {
    /// The layer's name, such as `model.layers.0.self_attn.q_proj`.
    pub path: &'a str,
    /// The tensors below it by their last names: `qweight`, `weight`, `bias`, `weight.absmax`.
    pub tensors: BTreeMap<String, TensorInfo>,
    /// The checkpoint's `quantization_config`, if it has one.
    pub quantization_config: Option<&'a Value>,
    /// The dtype that the model computes in: dense weights are converted to it, packed tensors stay as they are.
    pub compute_kind: Kind,
    /// Where the layer's tensors shall be.
    pub device: Device,
    /// Reads a tensor.
    pub reader: &'a dyn ReadTensor,
}

impl LayerSource<'_> {
    /// What the file says of the tensor `name`, if it is there.
    pub fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(name)
    }

    /// Dtype and shape of the tensor `name`, if it is there and has two dimensions.
    pub fn matrix(&self, name: &str) -> Option<(Option<Kind>, [i64; 2])> {
        let info = self.info(name)?;
        Some((info.kind, info.shape.as_slice().try_into().ok()?))
    }

    /// The tensor `name` as it is stored.
    ///
    /// # Errors
    /// [`LoadError::Missing`] when the layer has none of that name, [`LoadError::Read`] when it cannot be read.
    pub fn tensor(&self, name: &str) -> Result<Tensor, LoadError> {
        self.read(name, None)
    }

    /// The tensor `name`, converted to `kind` on the way.
    ///
    /// # Errors
    /// Those of [`tensor`](Self::tensor).
    pub fn tensor_as(&self, name: &str, kind: Kind) -> Result<Tensor, LoadError> {
        self.read(name, Some(kind))
    }

    /// The tensor `name` in the dtype of the file, or nothing if the layer has none of that name.
    ///
    /// # Errors
    /// [`LoadError::Read`] when it is there and cannot be read.
    pub fn optional_tensor(&self, name: &str) -> Result<Option<Tensor>, LoadError> {
        self.info(name).map(|_| self.tensor(name)).transpose()
    }

    /// An entry of the `quantization_config`, under the first of `keys` that has a value.
    pub fn config(&self, keys: &[&str]) -> Option<&Value> {
        let config = self.quantization_config?;
        keys.iter().filter_map(|key| config.get(key)).find(|value| !value.is_null())
    }

    /// The files of the layer's tensors, for errors.
    pub fn files(&self) -> String {
        let mut files: Vec<String> =
            self.tensors.values().map(|info| info.file.display().to_string()).collect();
        files.sort();
        files.dedup();
        files.join(", ")
    }

    /// The layer's tensors with dtypes and shapes, for errors.
    pub fn describe(&self) -> String {
        let tensors: Vec<String> = self.tensors.iter().map(|(name, info)| format!("{name} {info}")).collect();
        if tensors.is_empty() { "no tensors".to_owned() } else { tensors.join(", ") }
    }

    fn read(&self, name: &str, kind: Option<Kind>) -> Result<Tensor, LoadError> {
        if self.info(name).is_none() {
            return Err(LoadError::Missing {
                path: self.path.to_owned(),
                files: self.files(),
                tensor: name.to_owned(),
                found: self.describe(),
            });
        }
        self.reader.read(&format!("{}.{name}", self.path), kind, self.device)
    }
}

impl fmt::Debug for LayerSource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LayerSource(`{}`: {})", self.path, self.describe())
    }
}
