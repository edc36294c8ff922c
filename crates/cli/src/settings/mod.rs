//! What a training run is told: by flags, by a TOML file with the same names, by defaults; in that order.
//!
//! All names live in one flat table, those of PEFT's `LoraConfig` and of `TrainConfig` among them. A name that nobody
//! knows is an error with a suggestion, and so is a value of the wrong kind.

mod file;
mod flags;
mod names;
mod patterns;
mod save;

pub(crate) use flags::TrainFlags;
pub(crate) use save::CONFIG_FILE;

use crate::dtype::Dtype;
use crate::failure::Failure;
use names::Owner;
use qtuner_core::LoraConfig;
use qtuner_train::TrainConfig;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// A flat table of names and values.
type Table = Map<String, Value>;

/// What a run is told, checked.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Files, folders and the model's dtype.
    pub(crate) run: RunSettings,
    /// The adapter.
    pub(crate) lora: LoraConfig,
    /// The training.
    pub(crate) train: TrainConfig,
}

/// The names that are neither the adapter's nor the training's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunSettings {
    /// The checkpoint folder.
    pub(crate) model: PathBuf,
    /// The folder with the tokenizer, if it is not the model's.
    pub(crate) tokenizer: Option<PathBuf>,
    /// The file to train on.
    pub(crate) data: PathBuf,
    /// A file to evaluate on, in place of a part of `data`.
    pub(crate) eval_data: Option<PathBuf>,
    /// Where the results go.
    pub(crate) output: PathBuf,
    /// What the model computes in.
    #[serde(default = "default_dtype")]
    pub(crate) dtype: Dtype,
}

fn default_dtype() -> Dtype {
    Dtype::Float32
}

impl RunSettings {
    /// The folder with the tokenizer.
    pub(crate) fn tokenizer_folder(&self) -> &Path {
        self.tokenizer.as_deref().unwrap_or(&self.model)
    }
}

/// What a table must say, and how to say it.
const NEEDED: [(&str, &str); 3] = [("model", "FOLDER"), ("data", "FILE"), ("output", "FOLDER")];

impl Settings {
    /// The settings of `flags` over those of the files `bases`, the last of which counts most.
    pub(crate) fn resolve(flags: &TrainFlags, bases: &[&Path]) -> Result<Self, Failure> {
        let mut table = Table::new();
        for base in bases {
            table.extend(file::read(base)?);
        }
        table.extend(flags.table()?);
        Self::from_table(table)
    }

    /// The settings of one file alone.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        Self::from_table(file::read(path)?)
    }

    fn from_table(table: Table) -> Result<Self, Failure> {
        let missing: Vec<String> = NEEDED
            .iter()
            .filter(|(name, _)| !table.contains_key(*name))
            .map(|(name, value)| format!("--{name} {value}"))
            .collect();
        if !missing.is_empty() {
            let message = format!("train needs {}", missing.join(" and "));
            return Err(Failure::usage(message, "a flag, or the same name in the file of --config"));
        }
        let mut parts: [Table; 3] = Default::default();
        for (name, value) in table {
            parts[names::owner(&name).map_or(0, |owner| owner as usize)].insert(name, value);
        }
        let [run, mut lora, train] = parts;
        lora.entry("target_modules").or_insert_with(|| Value::from("all-linear"));
        let run: RunSettings = serde_json::from_value(Value::Object(run)).map_err(unusable)?;
        let train: TrainConfig = serde_json::from_value(Value::Object(train)).map_err(unusable)?;
        train.validate().map_err(|error| Failure::usage(error, SEE_HELP))?;
        Ok(Self { lora: lora_config(lora, &run)?, run, train })
    }
}

const SEE_HELP: &str = "`qtuner train --help` says what each option takes";

fn unusable(error: impl std::fmt::Display) -> Failure {
    Failure::usage(error, SEE_HELP)
}

/// PEFT's config out of its names. The base model is noted as PEFT does, and the task is the only one there is here.
fn lora_config(mut table: Table, run: &RunSettings) -> Result<LoraConfig, Failure> {
    table.insert("peft_type".to_owned(), Value::from("LORA"));
    table.insert("task_type".to_owned(), Value::from("CAUSAL_LM"));
    table.insert("base_model_name_or_path".to_owned(), Value::from(run.model.display().to_string()));
    let config = LoraConfig::from_json(&Value::Object(table).to_string()).map_err(unusable)?;
    config.validate().map_err(unusable)?;
    let patterns = config.rank_pattern.iter().map(|(_, rank)| ("rank_pattern", *rank));
    if let Some((name, rank)) =
        std::iter::once(("r", config.rank)).chain(patterns).find(|(_, rank)| *rank < 1)
    {
        return Err(unusable(format_args!("`{name}` is {rank}, expected at least 1")));
    }
    Ok(config)
}

/// Whether `value` is one that `name` can have, by itself.
fn check(name: &str, value: &Value) -> Result<(), String> {
    let alone = Value::Object(Table::from_iter([(name.to_owned(), value.clone())]));
    match names::owner(name) {
        Some(Owner::Training) => {
            serde_json::from_value::<TrainConfig>(alone).map(drop).map_err(|error| in_words(&error))
        }
        Some(Owner::Run) if name == "dtype" => {
            serde_json::from_value::<Dtype>(value.clone()).map(drop).map_err(|error| in_words(&error))
        }
        Some(Owner::Run) if !value.is_string() => Err("expected a path in quotes".to_owned()),
        _ => Ok(()),
    }
}

/// What serde says, with words for the types of this language.
fn in_words(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let kinds = [
        ("f64", "a number"),
        ("u64", "a whole number of at least 0"),
        ("usize", "a whole number of at least 0"),
    ];
    let found = kinds.iter().find_map(|(kind, words)| {
        Some(format!("{}expected {words}", text.strip_suffix(kind)?.strip_suffix("expected ")?))
    });
    found.unwrap_or(text)
}
