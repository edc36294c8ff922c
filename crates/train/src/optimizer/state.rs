//! AdamW's state as the bytes of a safetensors file.
//!
//! `exp_avg.<parameter>`, `exp_avg_sq.<parameter>` in the parameter's shape and dtype, for parameters of f16 and bf16 in F32
//! and with `master.<parameter>`, the value before it was rounded; and the number of steps, `step [1]` (I64). The same state
//! always gives the same bytes.

use super::AdamW;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::BTreeMap;
use tch::{Device, Kind, TchError, Tensor};

const STEP: &str = "step";

/// The dtypes that the state is in.
const DTYPES: [(Dtype, Kind); 2] = [(Dtype::F32, Kind::Float), (Dtype::F64, Kind::Double)];

/// A state that cannot be saved, or is not one of this optimizer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OptimizerStateError {
    /// The bytes are damaged.
    #[error("not a whole safetensors file: {reason}")]
    Safetensors {
        /// What is wrong.
        reason: String,
    },
    /// The state is of other parameters.
    #[error("tensor `{tensor}` is {found}, expected {expected}: the state is of another run")]
    Misfit {
        /// The tensor.
        tensor: String,
        /// What the file has.
        found: String,
        /// What the parameters ask for.
        expected: String,
    },
    /// The state is of a version that kept the moments of half-precision parameters in their dtype, where they round to 0.
    #[error(
        "tensor `{tensor}` is {found}, expected F32: the state is of a version that did not keep the f32 values of half-precision parameters, start the run anew"
    )]
    HalfPrecision {
        /// The tensor.
        tensor: String,
        /// Its dtype.
        found: String,
    },
    /// libtorch failed.
    #[error("tensor `{tensor}`: {source}")]
    Torch {
        /// The tensor.
        tensor: String,
        /// libtorch's message.
        source: TchError,
    },
}

impl AdamW {
    /// The state's bytes.
    ///
    /// # Errors
    /// [`OptimizerStateError`] for a parameter of a dtype that does not train.
    pub fn to_bytes(&self) -> Result<Vec<u8>, OptimizerStateError> {
        let mut raw = BTreeMap::new();
        for (name, tensor) in self.tensors() {
            let torch = |source| OptimizerStateError::Torch { tensor: name.clone(), source };
            let kind = tensor.kind();
            let dtype = DTYPES.iter().find(|(_, known)| *known == kind).map(|(dtype, _)| *dtype);
            let dtype = dtype.ok_or_else(|| misfit(&name, format!("{kind:?}"), "a floating dtype"))?;
            let shape: Vec<usize> = size(tensor);
            let bytes = bytes(tensor).map_err(torch)?;
            raw.insert(name, (dtype, shape, bytes));
        }
        let step = self.step.to_le_bytes().to_vec();
        raw.insert(STEP.to_owned(), (Dtype::I64, vec![1], step));
        let damaged = |reason: String| OptimizerStateError::Safetensors { reason };
        let mut views = Vec::new();
        for (name, (dtype, shape, bytes)) in &raw {
            let view = TensorView::new(*dtype, shape.clone(), bytes);
            views.push((name.as_str(), view.map_err(|error| damaged(error.to_string()))?));
        }
        safetensors::serialize(views, None).map_err(|error| damaged(error.to_string()))
    }

    /// Takes the state of `bytes` over: all of it fits, or nothing changes. The parameters are not part of it: they have to be
    /// those that it was saved with.
    ///
    /// # Errors
    /// [`OptimizerStateError`] when the bytes are damaged or of other parameters.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), OptimizerStateError> {
        let file = SafeTensors::deserialize(bytes)
            .map_err(|error| OptimizerStateError::Safetensors { reason: error.to_string() })?;
        let step = file.tensor(STEP).ok().and_then(|view| <[u8; 8]>::try_from(view.data()).ok());
        let step = step.ok_or_else(|| misfit(STEP, "missing".to_owned(), "one I64"))?;
        // Names come in no order of their own: the first one by name makes the error the same every time.
        let halves = file.iter().filter(|(_, view)| matches!(view.dtype(), Dtype::F16 | Dtype::BF16));
        if let Some((tensor, view)) = halves.min_by_key(|(name, _)| *name) {
            let found = format!("{:?}", view.dtype());
            return Err(OptimizerStateError::HalfPrecision { tensor: tensor.to_owned(), found });
        }
        let expected = self.tensors();
        let foreign = file.names().into_iter().filter(|name| *name != STEP && !expected.contains_key(*name));
        if let Some(name) = foreign.min() {
            return Err(misfit(name, "there".to_owned(), "a trainable parameter of the model"));
        }
        let mut copies = Vec::new();
        for (name, place) in expected {
            let wanted = format!("{:?} {:?}", place.kind(), place.size());
            let view = file.tensor(&name).map_err(|_| misfit(&name, "missing".to_owned(), &wanted))?;
            let kind = DTYPES.iter().find(|(dtype, _)| *dtype == view.dtype()).map(|(_, kind)| *kind);
            if kind != Some(place.kind()) || view.shape() != size(place) {
                return Err(misfit(&name, format!("{:?} {:?}", view.dtype(), view.shape()), &wanted));
            }
            let value = Tensor::f_from_data_size(view.data(), &place.size(), place.kind())
                .map_err(|source| OptimizerStateError::Torch { tensor: name.clone(), source })?;
            copies.push((name, place.shallow_clone(), value));
        }
        for (name, mut place, value) in copies {
            place.f_copy_(&value).map_err(|source| OptimizerStateError::Torch { tensor: name, source })?;
        }
        self.step = u64::from_le_bytes(step);
        Ok(())
    }

    /// The moments and the masters by their names in the file.
    fn tensors(&self) -> BTreeMap<String, &Tensor> {
        let named = self.states.iter().flat_map(|(name, state)| {
            let moments = [
                (format!("exp_avg.{name}"), &state.exp_avg),
                (format!("exp_avg_sq.{name}"), &state.exp_avg_sq),
            ];
            let master = state.master.as_ref().map(|master| (format!("master.{name}"), master));
            moments.into_iter().chain(master)
        });
        named.collect()
    }
}

fn misfit(tensor: &str, found: String, expected: &str) -> OptimizerStateError {
    OptimizerStateError::Misfit { tensor: tensor.to_owned(), found, expected: expected.to_owned() }
}

fn size(tensor: &Tensor) -> Vec<usize> {
    tensor.size().iter().map(|size| usize::try_from(*size).unwrap_or(0)).collect()
}

/// The values as they lie in memory: contiguous, little-endian on every machine that libtorch runs on.
fn bytes(tensor: &Tensor) -> Result<Vec<u8>, TchError> {
    let tensor = tensor.f_detach()?.f_to_device(Device::Cpu)?.f_contiguous()?;
    let size = tensor.numel() * tensor.kind().elt_size_in_bytes();
    let mut bytes = vec![0; size];
    if size > 0 {
        tensor.f_view_dtype(Kind::Uint8)?.f_copy_data_u8(&mut bytes, size)?;
    }
    Ok(bytes)
}
