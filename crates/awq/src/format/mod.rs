//! The bytes of AutoAWQ's GEMM format: four tensors, packed along the output.
//!
//! | name | dtype | shape |
//! |---|---|---|
//! | `qweight` | int32 | `[in, out/8]` |
//! | `qzeros` | int32 | `[in/group, out/8]` |
//! | `scales` | f16, bf16 or f32 | `[in/group, out]` |
//! | `bias` | floating | `[out]`, only if the linear had one |
//!
//! `W[i, o] = (q[i, o] - z[i / group, o]) * s[i / group, o]`, rounded once to the dtype of the scales. There is no shape
//! tensor: sizes and group size follow from the shapes.

mod pack;
mod quantize;
mod tensors;

pub use pack::{pack, unpack};
pub(crate) use quantize::quantize;
pub(crate) use tensors::AwqTensors;
