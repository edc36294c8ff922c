//! A Hugging Face folder as a causal language model built on qtuner's slots.
//!
//! - [`CausalLm::open`] makes a model of Llama's, Mistral's, Qwen's or Gemma's family from a folder.
//! - [`config`]: one decoder whose differences are data, read from `config.json`.
//! - [`Checkpoint`]: the folder's tensors. Which layers are quantized is decided by the tensors that are there, and by the
//!   backends that are linked: this crate knows none of them.
//! - [`cross_entropy`]: the loss of logits, and its gradient.
//! - [`generate`]: from prompts to texts, with a [`KeyValueCache`].

mod assembly;
mod attention;
mod block;
mod cache;
mod causal_lm;
mod checkpoint;
pub mod config;
pub mod cross_entropy;
mod decoder;
mod error;
mod extension;
pub mod generate;
mod input;
mod mask;
mod mlp;
mod norm;
mod rope;

pub use cache::KeyValueCache;
pub use causal_lm::{CausalLm, OpenOptions};
pub use checkpoint::Checkpoint;
pub use config::DecoderConfig;
pub use error::ModelError;
pub use generate::GenerationOptions;
pub use input::ModelInput;
