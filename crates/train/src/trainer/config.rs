//! What a run is to do.

use crate::SpecialTokens;
use crate::data::{Arrangement, DataOptions};
use crate::optimizer::{AdamWOptions, LrScheduler};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A run's configuration, under the names of transformers' `TrainingArguments` where it has them.
///
/// ```
/// use qtuner_train::TrainConfig;
///
/// let config: TrainConfig = serde_json::from_str(r#"{"learning_rate": 3e-3, "per_device_train_batch_size": 8}"#)?;
/// assert_eq!(config.batch_size, 8);
/// assert!(config.validate().is_ok());
/// assert!(serde_json::from_str::<TrainConfig>(r#"{"lerning_rate": 1.0}"#).is_err());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Tokens in a row. Default 512.
    #[serde(alias = "max_length", alias = "max_seq_length")]
    pub sequence_length: usize,
    /// How the documents of JSONL data become rows. Default packed.
    pub arrangement: Arrangement,
    /// The part of the data that is held out for evaluation: the last characters or lines. Default 0.
    pub eval_fraction: f64,
    /// How many bad lines are left out before a file is refused. Default 10.
    pub max_bad_lines: usize,
    /// Rows in one forward pass. Default 1.
    #[serde(alias = "per_device_train_batch_size")]
    pub batch_size: usize,
    /// Forward passes of one step. Default 1.
    pub gradient_accumulation_steps: usize,
    /// Steps of the run; beats `num_epochs`.
    pub max_steps: Option<u64>,
    /// Times that the data is seen. Default 1.
    #[serde(alias = "num_train_epochs")]
    pub num_epochs: f64,
    /// The highest learning rate. Default 2e-4.
    pub learning_rate: f64,
    /// How the rate goes after the warm-up. Default cosine.
    #[serde(alias = "lr_scheduler_type")]
    pub lr_scheduler: LrScheduler,
    /// Steps over which the rate rises; beats `warmup_ratio`.
    pub warmup_steps: Option<u64>,
    /// The part of the steps over which the rate rises. Default 0.03.
    pub warmup_ratio: f64,
    /// Decoupled weight decay. Default 0.
    pub weight_decay: f64,
    /// Default 0.9.
    pub adam_beta1: f64,
    /// Default 0.999.
    pub adam_beta2: f64,
    /// Default 1e-8.
    pub adam_epsilon: f64,
    /// The largest norm of the gradients; 0 for no limit. Default 1.
    pub max_grad_norm: f64,
    /// The seed of the data's order and of dropout. Default 42.
    pub seed: u64,
    /// Steps between two lines of metrics. Default 1.
    #[serde(alias = "logging_steps")]
    pub log_every: u64,
    /// Steps between two evaluations; one more is made at the end. Default: only at the end.
    #[serde(alias = "eval_steps")]
    pub eval_every: Option<u64>,
    /// Whether the held-out data is evaluated before the first step. Default no.
    pub eval_on_start: bool,
    /// Rows in one forward pass of an evaluation. Default: `batch_size`.
    #[serde(alias = "per_device_eval_batch_size")]
    pub eval_batch_size: Option<usize>,
    /// Steps between two checkpoints; one more is written at the end, and one at each best evaluation. Default 100.
    #[serde(alias = "save_steps")]
    pub save_every: u64,
    /// How many of the newest checkpoints stay; the best stays, too. Default 2.
    #[serde(alias = "save_total_limit")]
    pub keep_last: usize,
}

impl Default for TrainConfig {
    fn default() -> Self {
        let AdamWOptions { beta1, beta2, epsilon, weight_decay } = AdamWOptions::default();
        Self {
            sequence_length: 512,
            arrangement: Arrangement::Packed,
            eval_fraction: 0.0,
            max_bad_lines: 10,
            batch_size: 1,
            gradient_accumulation_steps: 1,
            max_steps: None,
            num_epochs: 1.0,
            learning_rate: 2e-4,
            lr_scheduler: LrScheduler::Cosine,
            warmup_steps: None,
            warmup_ratio: 0.03,
            weight_decay,
            adam_beta1: beta1,
            adam_beta2: beta2,
            adam_epsilon: epsilon,
            max_grad_norm: 1.0,
            seed: 42,
            log_every: 1,
            eval_every: None,
            eval_on_start: false,
            eval_batch_size: None,
            save_every: 100,
            keep_last: 2,
        }
    }
}

impl TrainConfig {
    /// Checks every value.
    ///
    /// # Errors
    /// [`ConfigError`] names the first option that is out of its range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let check = |fits: bool, option: &'static str, found: String, expected: &'static str| {
            if fits { Ok(()) } else { Err(ConfigError { option, found, expected }) }
        };
        let count = |option, value: u64| check(value > 0, option, value.to_string(), "at least 1");
        let number = |option, value: f64, fits: bool, expected| {
            check(value.is_finite() && fits, option, value.to_string(), expected)
        };
        check(self.sequence_length >= 2, "sequence_length", self.sequence_length.to_string(), "at least 2")?;
        count("batch_size", self.batch_size as u64)?;
        count("eval_batch_size", self.eval_batch_size.unwrap_or(1) as u64)?;
        count("gradient_accumulation_steps", self.gradient_accumulation_steps as u64)?;
        count("max_steps", self.max_steps.unwrap_or(1))?;
        count("log_every", self.log_every)?;
        count("eval_every", self.eval_every.unwrap_or(1))?;
        count("save_every", self.save_every)?;
        count("keep_last", self.keep_last as u64)?;
        let positive = "a number above 0";
        let not_negative = "a number of at least 0";
        let beta = "a number from 0 to below 1";
        number("num_epochs", self.num_epochs, self.num_epochs > 0.0, positive)?;
        number("learning_rate", self.learning_rate, self.learning_rate > 0.0, positive)?;
        number("adam_epsilon", self.adam_epsilon, self.adam_epsilon > 0.0, positive)?;
        number("weight_decay", self.weight_decay, self.weight_decay >= 0.0, not_negative)?;
        number("max_grad_norm", self.max_grad_norm, self.max_grad_norm >= 0.0, not_negative)?;
        number("adam_beta1", self.adam_beta1, (0.0..1.0).contains(&self.adam_beta1), beta)?;
        number("adam_beta2", self.adam_beta2, (0.0..1.0).contains(&self.adam_beta2), beta)?;
        let part = |value: f64| (0.0..=1.0).contains(&value);
        number("eval_fraction", self.eval_fraction, part(self.eval_fraction), "a number from 0 to 1")?;
        number("warmup_ratio", self.warmup_ratio, part(self.warmup_ratio), "a number from 0 to 1")
    }

    /// How the data file is to be read.
    pub fn data_options(&self) -> DataOptions {
        DataOptions {
            format: None,
            sequence_length: self.sequence_length,
            arrangement: self.arrangement,
            eval_fraction: self.eval_fraction,
            max_bad_lines: self.max_bad_lines,
            text_special_tokens: SpecialTokens::Skip,
        }
    }

    /// AdamW's numbers.
    pub fn adamw_options(&self) -> AdamWOptions {
        AdamWOptions {
            beta1: self.adam_beta1,
            beta2: self.adam_beta2,
            epsilon: self.adam_epsilon,
            weight_decay: self.weight_decay,
        }
    }

    /// The configuration without what may change when a run goes on: how often it logs, evaluates and saves.
    #[must_use]
    pub fn determining(&self) -> Self {
        let Self { log_every, eval_every, eval_on_start, eval_batch_size, save_every, keep_last, .. } =
            Self::default();
        Self { log_every, eval_every, eval_on_start, eval_batch_size, save_every, keep_last, ..self.clone() }
    }

    /// The hash (SHA-256, hexadecimal) of what determines the result.
    pub fn hash(&self) -> String {
        let json = serde_json::to_vec(&self.determining()).unwrap_or_default();
        format!("{:x}", Sha256::digest(json))
    }
}

/// An option out of its range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{option}` is {found}, expected {expected}")]
pub struct ConfigError {
    /// The option.
    pub option: &'static str,
    /// Its value.
    pub found: String,
    /// What it may be.
    pub expected: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_values_out_of_range_are_named() {
        TrainConfig::default().validate().expect("the defaults");
        for (json, option) in [
            (r#"{"sequence_length": 1}"#, "sequence_length"),
            (r#"{"batch_size": 0}"#, "batch_size"),
            (r#"{"max_steps": 0}"#, "max_steps"),
            (r#"{"learning_rate": 0.0}"#, "learning_rate"),
            (r#"{"adam_beta2": 1.0}"#, "adam_beta2"),
            (r#"{"eval_fraction": 1.5}"#, "eval_fraction"),
            (r#"{"keep_last": 0}"#, "keep_last"),
        ] {
            let config: TrainConfig = serde_json::from_str(json).expect("known options");
            assert_eq!(config.validate().expect_err(json).option, option);
        }
    }

    #[test]
    fn the_hash_changes_with_what_determines_the_result_alone() {
        let config = TrainConfig::default();
        let logging = TrainConfig { log_every: 7, save_every: 3, keep_last: 9, ..config.clone() };
        assert_eq!(config.hash(), logging.hash());
        let other = TrainConfig { learning_rate: 1e-3, ..config.clone() };
        assert_ne!(config.hash(), other.hash());
    }

    #[test]
    fn a_configuration_survives_json() {
        let config = TrainConfig { max_steps: Some(9), warmup_steps: Some(2), ..TrainConfig::default() };
        let json = serde_json::to_string(&config).expect("writes");
        assert_eq!(serde_json::from_str::<TrainConfig>(&json).expect("reads"), config);
    }
}
