//! AdamW over a model's trainable parameters, with a state that can be saved.

mod adamw;
mod clip;
mod parameter_state;
mod parameters;
mod schedule;
mod state;

pub use adamw::{AdamW, AdamWOptions};
pub use clip::{clip_grad_norm, grad_norm};
pub use parameters::{Parameters, trainable_parameters};
pub use schedule::{LrScheduler, Schedule};
pub use state::OptimizerStateError;
