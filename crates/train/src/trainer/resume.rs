//! Going on from a checkpoint.

use super::{TrainConfig, TrainError, Trainer};
use crate::{Checkpoint, LanguageModel};
use std::fmt::Write;

impl<M: LanguageModel> Trainer<'_, M> {
    /// Goes on from `checkpoint`, whose adapter the model has already (see [`Checkpoint::load_adapter`]): the run ends with the
    /// same bits as one that was never interrupted.
    ///
    /// # Errors
    /// [`TrainError::OtherRun`] when the configuration or the data are others, [`TrainError::Optimizer`] when the optimizer's
    /// state does not fit. Nothing has changed then.
    pub fn resume(&mut self, checkpoint: &Checkpoint) -> Result<(), TrainError> {
        let state = checkpoint.state();
        let other = |what: String| TrainError::OtherRun { path: checkpoint.path().to_owned(), what };
        if state.config_hash != self.config.hash() {
            return Err(other(differences(&state.config, &self.config)));
        }
        if state.data_hash != self.data_hash() {
            return Err(other("the training data have changed since".to_owned()));
        }
        let bytes = checkpoint.optimizer()?;
        let path = checkpoint.optimizer_path();
        self.optimizer.restore(&bytes).map_err(|source| TrainError::Optimizer { path, source })?;
        self.order.set_position(state.samples_seen);
        self.step = state.global_step;
        self.best = state.best;
        self.saved = Some((state.global_step, checkpoint.path().to_owned()));
        Ok(())
    }
}

/// Which options differ, as `name was a, is b`.
fn differences(before: &TrainConfig, now: &TrainConfig) -> String {
    let json = |config: &TrainConfig| serde_json::to_value(config.determining()).unwrap_or_default();
    let (before, now) = (json(before), json(now));
    let mut text = String::new();
    for (option, value) in now.as_object().into_iter().flatten() {
        if before[option] != *value {
            let comma = if text.is_empty() { "" } else { ", " };
            let _ = write!(text, "{comma}`{option}` was {}, is {value}", before[option]);
        }
    }
    text
}
