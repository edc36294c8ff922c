//! Bytes of a safetensors file to tensors and back.

use super::AdapterFileError;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use tch::{Device, Kind, TchError, Tensor};

/// The dtypes that adapters have, in the file and in libtorch.
const DTYPES: [(Dtype, Kind); 4] = [
    (Dtype::F32, Kind::Float),
    (Dtype::F16, Kind::Half),
    (Dtype::BF16, Kind::BFloat16),
    (Dtype::F64, Kind::Double),
];

/// The file's bytes for `tensors`, in the order and with the metadata of PEFT's own writer.
pub(super) fn encode(tensors: &BTreeMap<String, Tensor>, path: &Path) -> Result<Vec<u8>, AdapterFileError> {
    let mut raw: Vec<(&str, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
    for (name, tensor) in tensors {
        let torch = |source: TchError| AdapterFileError::Torch { tensor: name.clone(), source };
        let dtype = DTYPES.iter().find(|(_, kind)| *kind == tensor.kind()).map(|(dtype, _)| *dtype);
        let dtype = dtype.ok_or_else(|| AdapterFileError::Dtype {
            path: path.to_owned(),
            tensor: name.clone(),
            found: format!("{:?}", tensor.kind()),
        })?;
        raw.push((
            name,
            dtype,
            tensor.size().iter().map(|size| usize::try_from(*size).unwrap_or(0)).collect(),
            bytes(tensor).map_err(torch)?,
        ));
    }
    let damaged = |reason: String| AdapterFileError::Safetensors { path: path.to_owned(), reason };
    let mut views = Vec::new();
    for (name, dtype, shape, bytes) in &raw {
        let view =
            TensorView::new(*dtype, shape.clone(), bytes).map_err(|error| damaged(error.to_string()))?;
        views.push((*name, view));
    }
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize(views, Some(metadata)).map_err(|error| damaged(error.to_string()))
}

/// The tensor's values as they lie in memory: contiguous, little-endian on every machine that libtorch runs on.
fn bytes(tensor: &Tensor) -> Result<Vec<u8>, TchError> {
    let tensor = tensor.f_detach()?.f_to_device(Device::Cpu)?.f_contiguous()?;
    let size = tensor.numel() * tensor.kind().elt_size_in_bytes();
    let mut bytes = vec![0; size];
    if size > 0 {
        tensor.f_view_dtype(Kind::Uint8)?.f_copy_data_u8(&mut bytes, size)?;
    }
    Ok(bytes)
}

/// The tensors of a file's bytes, on the CPU, in the dtypes of the file.
pub(super) fn decode(bytes: &[u8], path: &Path) -> Result<BTreeMap<String, Tensor>, AdapterFileError> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| AdapterFileError::Safetensors {
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.tensors() {
        let kind = DTYPES.iter().find(|(dtype, _)| *dtype == view.dtype()).map(|(_, kind)| *kind);
        let kind = kind.ok_or_else(|| AdapterFileError::Dtype {
            path: path.to_owned(),
            tensor: name.clone(),
            found: format!("{:?}", view.dtype()),
        })?;
        let shape: Vec<i64> =
            view.shape().iter().map(|size| i64::try_from(*size).unwrap_or(i64::MAX)).collect();
        let tensor = Tensor::f_from_data_size(view.data(), &shape, kind)
            .map_err(|source| AdapterFileError::Torch { tensor: name.clone(), source })?;
        tensors.insert(name, tensor);
    }
    Ok(tensors)
}
