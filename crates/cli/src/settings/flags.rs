//! The flags of `qtuner train` that a file can hold, too. A flag that is not given says nothing.

use super::patterns::{self, Patterns};
use super::{Table, unusable};
use crate::dtype::Dtype;
use crate::failure::Failure;
use clap::builder::{StringValueParser, TypedValueParser};
use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::{Number, Value};
use std::path::PathBuf;

/// All flags with a name in the file.
#[derive(Debug, Args, Serialize)]
pub(crate) struct TrainFlags {
    #[command(flatten)]
    #[serde(flatten)]
    run: RunFlags,
    #[command(flatten)]
    #[serde(flatten)]
    lora: LoraFlags,
    #[command(flatten)]
    #[serde(flatten)]
    training: TrainingFlags,
}

impl TrainFlags {
    /// The flags that were given, under their names in the file.
    pub(super) fn table(&self) -> Result<Table, Failure> {
        let Value::Object(mut table) = serde_json::to_value(self).map_err(unusable)? else {
            return Ok(Table::new());
        };
        table.retain(|_, value| !value.is_null());
        Ok(table)
    }

    /// The output folder, if a flag names it.
    pub(crate) fn output(&self) -> Option<&PathBuf> {
        self.run.output.as_ref()
    }
}

#[derive(Debug, Args, Serialize)]
#[command(next_help_heading = "Files")]
struct RunFlags {
    /// Checkpoint folder: config.json, safetensors, tokenizer.json
    #[arg(long, value_name = "FOLDER")]
    model: Option<PathBuf>,
    /// Folder with another tokenizer.json [default: the model's]
    #[arg(long, value_name = "FOLDER")]
    tokenizer: Option<PathBuf>,
    /// What to learn: a text, or .jsonl with `text`, `prompt` and `completion`, or `messages` in each line
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// What to evaluate on [default: the part of --data that --eval-fraction holds out]
    #[arg(long, value_name = "FILE")]
    eval_data: Option<PathBuf>,
    /// Where the adapter, checkpoints, metrics and the loss curve go
    #[arg(long, short, value_name = "FOLDER")]
    output: Option<PathBuf>,
    /// What the model computes in [default: float32]
    #[arg(long)]
    dtype: Option<Dtype>,
}

#[derive(Debug, Args, Serialize)]
#[command(next_help_heading = "Adapter (PEFT's names)")]
struct LoraFlags {
    /// Rank [default: 8]
    #[arg(long, value_name = "N")]
    r: Option<i64>,
    /// The adapter is scaled by this over the rank [default: 8]
    #[arg(long, value_name = "ALPHA")]
    lora_alpha: Option<Number>,
    /// Part of the adapter's inputs that is dropped in training [default: 0]
    #[arg(long, value_name = "P", value_parser = finite, allow_hyphen_values = true)]
    lora_dropout: Option<f64>,
    /// Names with commas between, a regular expression, or all-linear [default: all-linear]
    #[arg(long, value_name = "NAMES", value_parser = module_names)]
    target_modules: Option<Value>,
    /// Modules that get no adapter: names with commas between, or a regular expression
    #[arg(long, value_name = "NAMES", value_parser = module_names)]
    exclude_modules: Option<Value>,
    /// Numbers of the layers that get an adapter, with commas between [default: all]
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',')]
    layers_to_transform: Option<Vec<u32>>,
    /// Name of the list that those numbers count in
    #[arg(long, value_name = "NAME")]
    layers_pattern: Option<String>,
    /// Other ranks for some modules: the end of a name, or a regular expression for it; the first that fits counts. Repeatable,
    /// or with commas between
    #[arg(long, value_name = "NAME=R", value_parser = patterns::ranks)]
    #[serde(serialize_with = "patterns::table")]
    rank_pattern: Option<Vec<Patterns>>,
    /// Other alphas for some modules, in the same way
    #[arg(long, value_name = "NAME=ALPHA", value_parser = patterns::alphas)]
    #[serde(serialize_with = "patterns::table")]
    alpha_pattern: Option<Vec<Patterns>>,
    /// Biases that train along: none, all or `lora_only` [default: none]
    #[arg(long, value_name = "WHICH")]
    bias: Option<String>,
    /// Scale by the square root of the rank
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    use_rslora: Option<bool>,
    /// `DoRA`, which no format here computes yet: true is refused
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    use_dora: Option<bool>,
    /// Give the adapter's B a bias
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    lora_bias: Option<bool>,
    /// How the adapter starts: true, false or gaussian [default: true]
    #[arg(long, value_name = "HOW", value_parser = StringValueParser::new().map(word_or_bool))]
    init_lora_weights: Option<Value>,
}

#[derive(Debug, Args, Serialize)]
#[command(
    next_help_heading = "Training (transformers' names are known in the file, too)",
    allow_negative_numbers = true
)]
struct TrainingFlags {
    /// Tokens in a row [default: 512]
    #[arg(long, value_name = "N")]
    sequence_length: Option<usize>,
    /// How JSONL documents become rows [default: packed]
    #[arg(long)]
    arrangement: Option<ArrangementFlag>,
    /// Part of the data, at its end, that is held out for evaluation [default: 0]
    #[arg(long, value_name = "PART", value_parser = finite, allow_hyphen_values = true)]
    eval_fraction: Option<f64>,
    /// Bad lines that are left out before a file is refused [default: 10]
    #[arg(long, value_name = "N")]
    max_bad_lines: Option<usize>,
    /// Rows in one forward pass [default: 1]
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,
    /// Forward passes of one step [default: 1]
    #[arg(long, value_name = "N")]
    gradient_accumulation_steps: Option<usize>,
    /// Steps of the run; beats --num-epochs
    #[arg(long, value_name = "N")]
    max_steps: Option<u64>,
    /// Times that the data are seen [default: 1]
    #[arg(long, value_name = "N", value_parser = finite, allow_hyphen_values = true)]
    num_epochs: Option<f64>,
    /// Highest learning rate [default: 2e-4]
    #[arg(long, value_name = "RATE", value_parser = finite, allow_hyphen_values = true)]
    learning_rate: Option<f64>,
    /// How the rate goes after the warm-up [default: cosine]
    #[arg(long)]
    lr_scheduler: Option<SchedulerFlag>,
    /// Steps over which the rate rises; beats --warmup-ratio
    #[arg(long, value_name = "N")]
    warmup_steps: Option<u64>,
    /// Part of the steps over which the rate rises [default: 0.03]
    #[arg(long, value_name = "PART", value_parser = finite, allow_hyphen_values = true)]
    warmup_ratio: Option<f64>,
    /// Decoupled weight decay [default: 0]
    #[arg(long, value_name = "X", value_parser = finite, allow_hyphen_values = true)]
    weight_decay: Option<f64>,
    /// [default: 0.9]
    #[arg(long, value_name = "X", value_parser = finite, allow_hyphen_values = true)]
    adam_beta1: Option<f64>,
    /// [default: 0.999]
    #[arg(long, value_name = "X", value_parser = finite, allow_hyphen_values = true)]
    adam_beta2: Option<f64>,
    /// [default: 1e-8]
    #[arg(long, value_name = "X", value_parser = finite, allow_hyphen_values = true)]
    adam_epsilon: Option<f64>,
    /// Largest norm of the gradients, 0 for no limit [default: 1]
    #[arg(long, value_name = "X", value_parser = finite, allow_hyphen_values = true)]
    max_grad_norm: Option<f64>,
    /// Seed of the adapter's start, the data's order and dropout [default: 42]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Steps between two lines of metrics [default: 1]
    #[arg(long, value_name = "N")]
    log_every: Option<u64>,
    /// Steps between two evaluations [default: only at the end]
    #[arg(long, value_name = "N")]
    eval_every: Option<u64>,
    /// Evaluate before the first step, too
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    eval_on_start: Option<bool>,
    /// Rows in one forward pass of an evaluation [default: --batch-size]
    #[arg(long, value_name = "N")]
    eval_batch_size: Option<usize>,
    /// Steps between two checkpoints [default: 100]
    #[arg(long, value_name = "N")]
    save_every: Option<u64>,
    /// Newest checkpoints that stay; the best stays, too [default: 2]
    #[arg(long, value_name = "N")]
    keep_last: Option<usize>,
}

#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum ArrangementFlag {
    /// Several documents a row, which do not see each other
    Packed,
    /// One document a row
    Padded,
}

#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum SchedulerFlag {
    /// Half a cosine, down to 0
    Cosine,
    /// A line, down to 0
    Linear,
    /// It stays
    #[value(alias = "constant_with_warmup")]
    Constant,
}

/// A list of names; a single text, as PEFT takes it for a regular expression or `all-linear`, where it looks like one.
/// What is no number has no place in the settings' file, and is never meant.
fn finite(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|error| format!("{error}"))?;
    if number.is_finite() { Ok(number) } else { Err("expected a finite number".to_owned()) }
}

fn module_names(text: &str) -> Result<Value, String> {
    let is_regex = text.contains(|c| "*+?[](){}|^$\\".contains(c));
    if is_regex || text.eq_ignore_ascii_case("all-linear") {
        return Ok(Value::from(text));
    }
    let names: Vec<&str> = text.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    if names.is_empty() { Err("expected a module's name".to_owned()) } else { Ok(Value::from(names)) }
}

fn word_or_bool(text: String) -> Value {
    text.parse().map_or_else(|_| Value::from(text), Value::Bool)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn module_names_are_a_list_unless_they_look_like_a_regular_expression() {
        let check = |text: &str, expected: Value| assert_eq!(module_names(text), Ok(expected));
        check("q_proj, v_proj", json!(["q_proj", "v_proj"]));
        check("q_proj", json!(["q_proj"]));
        check("all-linear", json!("all-linear"));
        check(r".*\.(q|v)_proj", json!(r".*\.(q|v)_proj"));
    }
}
