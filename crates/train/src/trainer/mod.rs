//! The training run.

mod config;
mod error;
mod gradients;
mod observer;
mod plan;
mod resume;
mod run;

pub use config::{ConfigError, TrainConfig};
pub use error::TrainError;
pub use observer::{Event, Observer, Outcome, Silent, Status, StepMetrics};
pub use plan::Plan;
pub use run::Trainer;
