//! `trainer_state.json`.

use crate::trainer::TrainConfig;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;

/// The step with the lowest evaluation loss so far.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// The step.
    pub step: u64,
    /// The mean loss of a target.
    pub eval_loss: f64,
}

/// What a file of the checkpoint has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileMark {
    /// Its length.
    pub bytes: u64,
    /// The CRC-32C of its bytes.
    pub crc32c: u32,
}

/// Where a run stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainerState {
    /// Steps made.
    pub global_step: u64,
    /// Steps of the whole run, which the schedule is made for.
    pub max_steps: u64,
    /// Samples seen, which is the position in the data's order.
    pub samples_seen: u64,
    /// The best evaluation so far, of those whose loss is a finite number.
    #[serde(deserialize_with = "finite")]
    pub best: Option<Best>,
    /// The hash of the training data.
    pub data_hash: String,
    /// The hash of what determines the result in [`config`](Self::config).
    pub config_hash: String,
    /// The run's configuration.
    pub config: TrainConfig,
    /// The checkpoint's other files.
    pub files: BTreeMap<String, FileMark>,
}

/// A best evaluation whose loss was no number stands in older files with a loss of null: there was none.
fn finite<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Best>, D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Written {
        step: u64,
        eval_loss: Option<f64>,
    }
    let written = Option::<Written>::deserialize(deserializer)?;
    Ok(written.and_then(|Written { step, eval_loss }| Some(Best { step, eval_loss: eval_loss? })))
}
