//! Why a run did not start or stopped.

use super::ConfigError;
use crate::ModelError;
use crate::checkpoint::CheckpointError;
use crate::metrics::MetricsError;
use crate::optimizer::OptimizerStateError;
use qtuner_core::AdapterFileError;
use std::fmt;
use std::path::PathBuf;
use tch::TchError;

/// A run that did not start or stopped. Finished checkpoints are whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// An option out of its range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The model failed.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// libtorch failed outside of the model.
    #[error("libtorch failed: {0}")]
    Torch(#[from] TchError),
    /// No parameter requires a gradient.
    #[error("no parameter trains, expected an active adapter: inject one first")]
    NothingTrains,
    /// The adapter that is to be saved is not one that trains.
    #[error(
        "adapter \"{name}\" does not train, found {active:?} active of {known:?}: inject it, or name it with `set_adapter`"
    )]
    AdapterDoesNotTrain {
        /// The name.
        name: String,
        /// The active adapters.
        active: Vec<String>,
        /// All adapters.
        known: Vec<String>,
    },
    /// There is no data to train on.
    #[error(
        "there is no sample to train on: use more data, a smaller `sequence_length` or a smaller `eval_fraction`"
    )]
    NoSamples,
    /// The data has tokens that the model does not have.
    #[error(
        "the data has tokens up to {largest}, the model has {vocab_size}: use the tokenizer that belongs to the model"
    )]
    Vocabulary {
        /// The largest token number.
        largest: i64,
        /// The model's vocabulary.
        vocab_size: i64,
    },
    /// The output folder has checkpoints of another run.
    #[error("{}: the folder has {checkpoints} checkpoints of a run already: resume it, or use another output folder", path.display())]
    Occupied {
        /// The folder.
        path: PathBuf,
        /// How many checkpoints are in it.
        checkpoints: usize,
    },
    /// The checkpoint is of a run with another configuration or other data.
    #[error("{}: the checkpoint is of another run: {what}", path.display())]
    OtherRun {
        /// The checkpoint.
        path: PathBuf,
        /// What differs.
        what: String,
    },
    /// The optimizer's state does not fit.
    #[error("{}: {source}", path.display())]
    Optimizer {
        /// The state's file.
        path: PathBuf,
        /// What is wrong with it.
        source: OptimizerStateError,
    },
    /// The loss or the gradient is infinite or NaN. The step was not made.
    #[error("step {step}: the loss is {loss} and the gradient norm {grad_norm}, expected finite numbers: lower `learning_rate` or look at the data; {}", LastGood(last_checkpoint.as_deref()))]
    NotFinite {
        /// The step that was not made, counted from 1.
        step: u64,
        /// The loss.
        loss: f64,
        /// The gradients' norm.
        grad_norm: f64,
        /// The newest checkpoint from before.
        last_checkpoint: Option<PathBuf>,
    },
    /// A checkpoint cannot be written or read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The adapter cannot be saved.
    #[error(transparent)]
    Adapter(#[from] AdapterFileError),
    /// The metrics cannot be written.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
}

struct LastGood<'a>(Option<&'a std::path::Path>);

impl fmt::Display for LastGood<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(path) => write!(f, "the last good checkpoint is {}", path.display()),
            None => write!(f, "no checkpoint was written before it"),
        }
    }
}
