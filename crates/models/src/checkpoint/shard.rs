//! One safetensors file: its header, checked, and its tensors' bytes.
//!
//! The `safetensors` crate checks that the offsets are in order, without gaps or overlaps, that they fit shapes and dtypes,
//! and that they end where the file does.

use super::copy;
use super::map::MappedFile;
use crate::ModelError;
use qtuner_core::LoadError;
use qtuner_core::registry::TensorInfo;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, Metadata};
use std::io::ErrorKind;
use std::ops::Range;
use std::path::PathBuf;
use tch::{Device, Kind, Tensor};

/// An open safetensors file.
#[derive(Debug)]
pub(super) struct Shard {
    path: PathBuf,
    map: MappedFile,
    metadata: Metadata,
    data_start: usize,
}

impl Shard {
    /// Opens the file at `path`; `expected` says what the folder should have in its place if it is not there.
    pub(super) fn open(path: PathBuf, expected: &str) -> Result<Self, ModelError> {
        let map = MappedFile::open(&path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                ModelError::MissingFile { path: path.clone(), expected: expected.to_owned() }
            }
            _ => ModelError::io(&path)(error),
        })?;
        let (header, metadata) = SafeTensors::read_metadata(map.bytes())
            .map_err(|error| ModelError::Safetensors { path: path.clone(), reason: error.to_string() })?;
        let data_start = header + size_of::<u64>();
        Ok(Self { path, map, metadata, data_start })
    }

    /// The tensors by name.
    pub(super) fn tensors(&self) -> Result<Vec<(String, TensorInfo)>, ModelError> {
        let info = |(name, info): (String, &safetensors::tensor::TensorInfo)| {
            let shape = info.shape.iter().map(|size| i64::try_from(*size)).collect::<Result<Vec<i64>, _>>();
            let shape = shape.map_err(|_| ModelError::Safetensors {
                path: self.path.clone(),
                reason: format!("tensor `{name}` has the shape {:?}", info.shape),
            })?;
            let (dtype, kind) = (info.dtype.to_string(), kind_of(info.dtype));
            Ok((name, TensorInfo { file: self.path.clone(), dtype, kind, shape }))
        };
        self.metadata.tensors().into_iter().map(info).collect()
    }

    /// The values of the tensor `name`, copied once: as they are, or converted to `kind`.
    pub(super) fn read(
        &self,
        name: &str,
        info: &TensorInfo,
        kind: Option<Kind>,
        device: Device,
    ) -> Result<Tensor, LoadError> {
        let refuse =
            |reason: String| LoadError::Read { file: self.path.clone(), tensor: name.to_owned(), reason };
        let stored = info.kind.ok_or_else(|| refuse(format!("dtype {} is not supported", info.dtype)))?;
        let range = self.metadata.info(name).map(|info| info.data_offsets);
        let (start, end) = range.ok_or_else(|| refuse("not in the file".to_owned()))?;
        let range = self.data_start + start..self.data_start + end;
        let bytes = self.map.bytes().get(range.clone());
        let bytes = bytes.ok_or_else(|| refuse("its offsets are outside of the file".to_owned()))?;
        let release =
            |copied: Range<usize>| self.map.release(range.start + copied.start..range.start + copied.end);
        let tensor = copy::tensor(bytes, &info.shape, stored, kind.unwrap_or(stored), release)
            .and_then(|tensor| if device == Device::Cpu { Ok(tensor) } else { tensor.f_to_device(device) });
        tensor.map_err(|error| refuse(error.to_string()))
    }
}

/// The dtype as libtorch knows it, of those that checkpoints here are made of.
fn kind_of(dtype: Dtype) -> Option<Kind> {
    match dtype {
        Dtype::BOOL => Some(Kind::Bool),
        Dtype::U8 => Some(Kind::Uint8),
        Dtype::I8 => Some(Kind::Int8),
        Dtype::I16 => Some(Kind::Int16),
        Dtype::I32 => Some(Kind::Int),
        Dtype::I64 => Some(Kind::Int64),
        Dtype::F16 => Some(Kind::Half),
        Dtype::BF16 => Some(Kind::BFloat16),
        Dtype::F32 => Some(Kind::Float),
        Dtype::F64 => Some(Kind::Double),
        _ => None,
    }
}
