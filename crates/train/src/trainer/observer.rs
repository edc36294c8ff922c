//! What a run tells while it goes.

use super::Plan;
use crate::checkpoint::Best;
use crate::loss::Evaluation;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};

/// One step's figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepMetrics {
    /// The step, from 1.
    pub step: u64,
    /// Times that the data was seen.
    pub epoch: f64,
    /// The mean loss of the step's targets, in nats, before the step was made.
    pub loss: f64,
    /// The learning rate.
    pub learning_rate: f64,
    /// The gradients' norm before clipping.
    pub grad_norm: f64,
    /// Tokens that went through the model, padding not counted.
    pub tokens: usize,
    /// Tokens a second.
    pub tokens_per_second: f64,
    /// The process's largest resident memory so far, in bytes, where the system tells.
    pub peak_memory: Option<u64>,
}

/// What happens in a run, in the order it happens.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The run starts or goes on.
    Started {
        /// What is to be done.
        plan: &'a Plan,
        /// Steps that were made before.
        step: u64,
    },
    /// A step was made.
    Step(&'a StepMetrics),
    /// An evaluation goes on.
    Evaluating {
        /// Samples that were evaluated.
        samples: usize,
        /// Samples there are.
        total: usize,
    },
    /// An evaluation is done.
    Evaluated {
        /// Steps made.
        step: u64,
        /// Its figures.
        evaluation: &'a Evaluation,
    },
    /// A checkpoint is on the disk.
    Saved {
        /// Steps made.
        step: u64,
        /// Its folder.
        path: &'a Path,
    },
    /// The run is over, or was stopped.
    Finished(&'a Outcome),
}

/// Who wants to know. Closures do, too.
pub trait Observer {
    /// Called with each event.
    fn observe(&mut self, event: &Event<'_>);
}

impl<F: FnMut(&Event<'_>)> Observer for F {
    fn observe(&mut self, event: &Event<'_>) {
        self(event);
    }
}

/// An observer that looks away.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn observe(&mut self, _: &Event<'_>) {}
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// All steps were made, and the adapter is in the output folder.
    Finished,
    /// It was asked to stop.
    Stopped,
}

/// How a run ended, and where its results are.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Outcome {
    /// How it ended.
    pub status: Status,
    /// Steps made.
    pub step: u64,
    /// Steps of the whole run.
    pub max_steps: u64,
    /// The newest checkpoint.
    pub checkpoint: PathBuf,
    /// The best evaluation.
    pub best: Option<Best>,
    /// The last evaluation, if one was made.
    pub evaluation: Option<Evaluation>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step, max_steps, checkpoint, .. } = self;
        match self.status {
            Status::Finished => write!(f, "finished {max_steps} steps")?,
            Status::Stopped => write!(
                f,
                "stopped after step {step} of {max_steps}; resume the run to go on from {}",
                checkpoint.display()
            )?,
        }
        match self.best {
            Some(best) => write!(f, "; best evaluation loss {:.5} at step {}", best.eval_loss, best.step),
            None => Ok(()),
        }
    }
}
