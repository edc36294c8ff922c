//! PEFT's adapter files, both directions: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! Tensor names are PEFT's: `base_model.model.<module>.lora_A.weight` `[r, in]`, `.lora_B.weight` `[out, r]`,
//! `.lora_B.bias` `[out]`, and with `bias` other than `"none"` the trained biases
//! (`base_model.model.<module>.base_layer.bias` on adapted layers). Files are written beside their place, synced and
//! renamed; the same adapter always gives the same bytes.

mod error;
mod load;
mod names;
mod read;
mod save;
mod tensors;

pub use crate::lora::Trainability;
pub use error::AdapterFileError;
pub use load::{LoadReport, load_adapter, load_adapter_with};
pub use read::StoredAdapter;
pub use save::{save_adapter, save_adapters};

/// The config's file name.
pub const CONFIG_FILE: &str = "adapter_config.json";

/// The tensors' file name.
pub const MODEL_FILE: &str = "adapter_model.safetensors";

/// The largest `adapter_config.json` that is read: real ones have a few kilobytes.
const MAX_CONFIG_BYTES: u64 = 16 << 20;
