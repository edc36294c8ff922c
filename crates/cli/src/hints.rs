//! The way out of an error, where its own sentence does not say it.

use qtuner_core::{AdapterFileError, InjectError};
use qtuner_models::ModelError;
use qtuner_train::{CheckpointError, DataError, TokenizerError, TrainError};
use std::any::Any;

/// The hint for tokens that the model does not have.
pub(crate) const FOREIGN_TOKENS: &str =
    "--tokenizer FOLDER takes the tokenizer.json that belongs to the model";

/// The hint for an error of one of the libraries.
pub(crate) fn for_error(error: &dyn Any) -> Option<&'static str> {
    if let Some(error) = error.downcast_ref::<ModelError>() {
        return Some(for_model(error));
    }
    if let Some(error) = error.downcast_ref::<AdapterFileError>() {
        return Some(for_adapter(error));
    }
    if let Some(error) = error.downcast_ref::<InjectError>() {
        return Some(for_injection(error));
    }
    if let Some(error) = error.downcast_ref::<DataError>() {
        return Some(for_data(error));
    }
    if let Some(error) = error.downcast_ref::<TokenizerError>() {
        return Some(for_tokenizer(error));
    }
    if let Some(error) = error.downcast_ref::<TrainError>() {
        return for_training(error);
    }
    error.downcast_ref::<CheckpointError>().map(|error| match error {
        CheckpointError::Io { .. } => "--output wants a folder that can be read and written",
        _ => "`--resume` takes the newest whole checkpoint; delete damaged ones, or start again in another --output",
    })
}

fn for_model(error: &ModelError) -> &'static str {
    match error {
        ModelError::Io { .. } | ModelError::MissingFile { .. } => {
            "--model wants a folder as the Hugging Face Hub has it: config.json, *.safetensors, tokenizer.json"
        }
        ModelError::Safetensors { .. } => {
            "compare the file's size with the Hub's: a download that broke off is the usual reason"
        }
        ModelError::Load(_) | ModelError::Registry(_) => {
            "`qtuner backends` lists the formats that this program can load"
        }
        _ => "`qtuner inspect MODEL` shows what is in the folder",
    }
}

fn for_adapter(error: &AdapterFileError) -> &'static str {
    match error {
        AdapterFileError::Missing { .. } => {
            "a finished run's --output is an adapter folder, and so is each checkpoint-N in it"
        }
        AdapterFileError::Misfit { .. } | AdapterFileError::Inject { .. } => {
            "was the adapter trained on another base model? compare `qtuner inspect` of both folders"
        }
        _ => "`qtuner inspect ADAPTER` shows what is in the folder",
    }
}

fn for_injection(error: &InjectError) -> &'static str {
    match error {
        // DoRA is the one option that a backend refuses layer by layer.
        InjectError::Layers { problems }
            if problems.iter().any(|problem| problem.to_string().contains("use_dora")) =>
        {
            "leave out --use-dora, or say --use-dora=false"
        }
        InjectError::Config(_) => {
            "`qtuner inspect MODEL` lists the layers by name; --target-modules all-linear takes all"
        }
        _ => "`qtuner inspect MODEL` lists the layers and the backend of each",
    }
}

fn for_data(error: &DataError) -> &'static str {
    match error {
        DataError::Io { .. } => "--data wants a text file, or a .jsonl file with one JSON object a line",
        DataError::BadLines { .. } => {
            "a line is {\"text\"}, {\"prompt\", \"completion\"} or {\"messages\"}; --max-bad-lines lets more through"
        }
        DataError::Empty { bad_lines, .. } if bad_lines.is_empty() => {
            "--sequence-length N makes shorter rows; `qtuner preview` shows what a file becomes"
        }
        DataError::Empty { .. } => {
            "each line is one object: {\"text\"}, {\"prompt\", \"completion\"} or {\"messages\"}"
        }
        DataError::Encoding { .. } => "--data wants a text or a .jsonl file in UTF-8",
        DataError::Option { .. } => "`qtuner COMMAND --help` says what each option takes",
        DataError::Tokenizer(error) => for_tokenizer(error),
        _ => "`qtuner preview` shows what the data become",
    }
}

fn for_tokenizer(error: &TokenizerError) -> &'static str {
    match error {
        TokenizerError::Io { .. } => "--model, or --tokenizer, wants a folder with tokenizer.json",
        TokenizerError::NoFolder { .. } => "--model, or --tokenizer, wants a folder that is there",
        TokenizerError::Missing { .. } => "--tokenizer FOLDER takes the tokenizer.json of another folder",
        _ => "`qtuner preview` shows what the tokenizer makes of the data",
    }
}

fn for_training(error: &TrainError) -> Option<&'static str> {
    match error {
        TrainError::Occupied { .. } => Some("--resume goes on with that run; --output FOLDER starts another"),
        TrainError::OtherRun { .. } => Some(
            "give the run's own options, which are in run.toml beside its checkpoints, or start another --output",
        ),
        TrainError::NotFinite { .. } => {
            Some("a run keeps its rate: start another with a lower --learning-rate and another --output")
        }
        TrainError::Vocabulary { .. } => Some(FOREIGN_TOKENS),
        TrainError::NoSamples => {
            Some("--eval-fraction holds that part of the data out; `qtuner preview` shows all")
        }
        TrainError::Checkpoint(error) => for_error(error),
        TrainError::Adapter(error) => for_error(error),
        _ => None,
    }
}
