//! AWQ for qtuner: AutoAWQ's `WQLinear_GEMM` layers, computed on by a libtorch extension, tuned by LoRA.
//!
//! - [`format`](mod@format): the bytes, and how they are packed.
//! - [`WqLinearGemm`]: the layer.
//! - `kernel`: the numbers, in Rust; `extension`: how libtorch calls them.
//! - [`AwqLoraLinear`]: the tuner layer.
//! - [`dispatch_awq`], [`DISPATCHER`]: what the backend claims. Linking the crate registers it: name it once, with
//!   `use qtuner_awq as _;` if nothing else does.

mod dispatch;
mod error;
mod extension;
pub mod format;
mod kernel;
mod layer;
mod load;
mod tuner;

pub use dispatch::{DISPATCHER, MINIMUM_VERSION, dispatch_awq};
pub use error::AwqError;
pub use extension::is_available;
pub use format::{pack, unpack};
pub use layer::WqLinearGemm;
pub use tuner::AwqLoraLinear;

/// The instruction sets that the kernels can use on this machine, as the environment variable `QTUNER_ISA` names them: from
/// the plainest to the best, which is the one in use unless the variable says otherwise.
///
/// ```
/// assert_eq!(qtuner_awq::instruction_sets()[0], "portable");
/// ```
pub fn instruction_sets() -> Vec<String> {
    kernel::Isa::available().iter().map(ToString::to_string).collect()
}
