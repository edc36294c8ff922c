//! A run's figures on the disk: `metrics.jsonl`, `TensorBoard` event files, and a picture of the loss.
//!
//! ```text
//! <output>/metrics.jsonl              {"kind": "step", "step": 1, "loss": ..., ...} and {"kind": "evaluation", ...}
//!          tensorboard/events.out.tfevents.*
//!          loss.svg, loss.png
//! ```

pub mod curve;
mod error;
mod log;
mod memory;
pub mod tensorboard;

pub use error::MetricsError;
pub use log::{MetricsLog, Record, read};
pub use memory::peak_memory;
