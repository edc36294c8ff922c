//! LoRA, written once over any layer: `y = base(x) + sum_i cast(B_i(A_i(dropout(x))) * scaling_i)`.
//!
//! - [`LoraOptions`]: what one adapter asks of one layer.
//! - [`LoraAdapter`]: its tensors, `A [r, in]` and `B [out, r]`.
//! - [`LoraLinear`]: the tuner layer, which holds any number of adapters over a base layer.
//! - [`LoraLayer`]: the trait, which a backend's named wrapper gets by pointing at its [`LoraLinear`].

mod adapter;
mod forward;
mod init;
mod layer;
mod lifecycle;
mod linear;
mod merge;
mod options;
mod trainability;

pub use adapter::LoraAdapter;
pub use layer::LoraLayer;
pub use linear::LoraLinear;
pub(crate) use linear::Situation;
pub use options::LoraOptions;
pub use trainability::Trainability;
