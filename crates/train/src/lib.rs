//! Training an adapter: data, loss, optimizer, schedule, checkpoints and metrics, over any [`LanguageModel`].
//!
//! - [`Tokenizer::open`] reads a checkpoint folder's tokenizer and chat template, [`data::load`] a text or JSONL file.
//! - [`Trainer`] runs the loop: its [`Observer`] sees every step, its folder holds checkpoints and metrics.
//! - [`Checkpoint::newest`] finds where an interrupted run goes on, bit-equal to one that was never interrupted.
//! - [`evaluate`] gives the loss and the perplexity of a dataset.
//!
//! The crate names no backend: a model is whatever implements [`LanguageModel`], as `qtuner_models::CausalLm` does.

mod causal_lm;
pub mod chat;
pub mod checkpoint;
pub mod data;
mod files;
pub mod loss;
pub mod metrics;
mod model;
pub mod optimizer;
mod random;
mod tokenizer;
pub mod trainer;

pub use checkpoint::{Checkpoint, CheckpointError};
pub use data::{DataError, DataOptions, Dataset};
pub use loss::{Evaluation, evaluate};
pub use model::{LanguageModel, ModelError};
pub use tokenizer::{SpecialTokens, Tokenizer, TokenizerError};
pub use trainer::{Event, Observer, Outcome, Plan, StepMetrics, TrainConfig, TrainError, Trainer};
