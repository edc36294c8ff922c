//! The learning rate of each step.

use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// How the learning rate goes after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LrScheduler {
    /// Half a cosine, down to 0 after the last step.
    Cosine,
    /// A line, down to 0 after the last step.
    Linear,
    /// It stays after the warm-up: transformers' `constant_with_warmup`, which is another name here. Its `constant` has no
    /// warm-up, as with `warmup_steps` of 0.
    #[serde(alias = "constant_with_warmup")]
    Constant,
}

/// The learning rates of a run: a line up over the warm-up steps, then the scheduler's curve (transformers' `get_scheduler`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// The highest rate.
    pub learning_rate: f64,
    /// The curve.
    pub scheduler: LrScheduler,
    /// Steps of the warm-up.
    pub warmup_steps: u64,
    /// Steps of the run.
    pub steps: u64,
}

impl Schedule {
    /// The rate that step `step` (from 0) uses.
    ///
    /// ```
    /// use qtuner_train::optimizer::{LrScheduler, Schedule};
    ///
    /// let schedule = Schedule { learning_rate: 1.0, scheduler: LrScheduler::Linear, warmup_steps: 2, steps: 6 };
    /// let rates: Vec<f64> = (0..6).map(|step| schedule.rate(step)).collect();
    /// assert_eq!(rates, [0.0, 0.5, 1.0, 0.75, 0.5, 0.25]);
    /// ```
    #[allow(clippy::cast_precision_loss, reason = "runs have fewer than 2^53 steps")]
    pub fn rate(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return self.learning_rate * step as f64 / self.warmup_steps as f64;
        }
        let rest = self.steps.saturating_sub(self.warmup_steps).max(1) as f64;
        let done = ((step - self.warmup_steps) as f64 / rest).min(1.0);
        self.learning_rate
            * match self.scheduler {
                LrScheduler::Cosine => 0.5 * (1.0 + (PI * done).cos()),
                LrScheduler::Linear => 1.0 - done,
                LrScheduler::Constant => 1.0,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_schedule_rises_through_the_warmup_and_never_after(
            scheduler in prop::sample::select(vec![LrScheduler::Cosine, LrScheduler::Linear, LrScheduler::Constant]),
            warmup_steps in 0u64..20,
            steps in 1u64..200,
        ) {
            let schedule = Schedule { learning_rate: 3e-4, scheduler, warmup_steps, steps };
            for step in 0..steps {
                let (rate, next) = (schedule.rate(step), schedule.rate(step + 1));
                let allowed = 0.0..=3e-4;
            prop_assert!(allowed.contains(&rate), "{}", rate);
                let goes_right = if step < warmup_steps { next > rate } else { next <= rate };
                prop_assert!(goes_right, "{} then {}", rate, next);
            }
            prop_assert!((schedule.rate(warmup_steps) - 3e-4).abs() < 1e-18);
            if scheduler != LrScheduler::Constant && warmup_steps < steps {
                prop_assert!(schedule.rate(steps).abs() < 1e-18);
            }
        }
    }
}
