//! What a run will do, before it does it.

use super::TrainConfig;
use crate::Dataset;
use crate::optimizer::Schedule;
use serde::Serialize;
use std::fmt;

/// What a run will do.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Plan {
    /// Samples to train on.
    pub samples: usize,
    /// Tokens to train on, once.
    pub tokens: usize,
    /// Targets among them.
    pub loss_tokens: usize,
    /// Samples held out.
    pub eval_samples: usize,
    /// Samples of one step.
    pub samples_per_step: usize,
    /// Steps of the run.
    pub steps: u64,
    /// Steps over which the learning rate rises.
    pub warmup_steps: u64,
    /// Times that the data is seen.
    pub epochs: f64,
}

impl Plan {
    /// The plan of `config` for these data.
    #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and rounded")]
    pub fn new(config: &TrainConfig, train: &Dataset, eval: &Dataset) -> Self {
        let samples = train.samples().len();
        let samples_per_step = config.batch_size * config.gradient_accumulation_steps;
        let wanted = (config.num_epochs * samples as f64 / samples_per_step as f64).ceil() as u64;
        let steps = config.max_steps.unwrap_or(wanted.max(1));
        let warmup = (config.warmup_ratio * steps as f64).ceil() as u64;
        Self {
            samples,
            tokens: train.tokens(),
            loss_tokens: train.loss_tokens(),
            eval_samples: eval.samples().len(),
            samples_per_step,
            steps,
            warmup_steps: config.warmup_steps.unwrap_or(warmup),
            epochs: steps as f64 * samples_per_step as f64 / samples.max(1) as f64,
        }
    }

    /// The learning rates of the run.
    pub fn schedule(&self, config: &TrainConfig) -> Schedule {
        Schedule {
            learning_rate: config.learning_rate,
            scheduler: config.lr_scheduler,
            warmup_steps: self.warmup_steps,
            steps: self.steps,
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "train on {} samples, {} tokens, {} in the loss; {} samples held out",
            self.samples, self.tokens, self.loss_tokens, self.eval_samples
        )?;
        write!(
            f,
            "{} steps of {} samples ({:.2} epochs), {} of them warm-up",
            self.steps, self.samples_per_step, self.epochs, self.warmup_steps
        )
    }
}
