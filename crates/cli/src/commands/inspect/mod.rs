//! `qtuner inspect`: what a checkpoint or an adapter folder holds, and what is odd about it.

mod adapter;
mod checkpoint;

use crate::failure::Failure;
use crate::output::{self, JsonFlag, Reader};
use qtuner_core::adapter_file;
use serde::Serialize;
use std::path::PathBuf;

/// Arguments of `qtuner inspect`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A checkpoint is opened as training would open it, so that what is wrong with it shows here.

Examples:
  qtuner inspect my-model-awq
  qtuner inspect my-adapter --json")]
pub(crate) struct InspectArgs {
    /// Checkpoint folder or adapter folder
    folder: PathBuf,
    #[command(flatten)]
    json: JsonFlag,
}

/// What was found.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Found {
    Checkpoint(checkpoint::CheckpointReport),
    Adapter(adapter::AdapterReport),
}

/// Looks and prints.
pub(crate) fn run(args: &InspectArgs) -> Result<(), Failure> {
    let folder = &args.folder;
    if !folder.is_dir() {
        let message = format!("{}: not a folder", folder.display());
        return Err(Failure::new(message, "give the folder that holds config.json or adapter_config.json"));
    }
    let is_adapter =
        [adapter_file::CONFIG_FILE, adapter_file::MODEL_FILE].iter().any(|file| folder.join(file).is_file());
    let found = if is_adapter {
        Found::Adapter(adapter::look(folder)?)
    } else {
        Found::Checkpoint(checkpoint::look(folder)?)
    };
    match (args.json.reader(), &found) {
        (Reader::Program, found) => output::json(found),
        (Reader::Person, Found::Checkpoint(report)) => output::part(&report.text()),
        (Reader::Person, Found::Adapter(report)) => output::part(&report.text()),
    }
}

/// The closing lines: what is odd, if anything is.
fn odd(oddities: &[String]) -> String {
    if oddities.is_empty() {
        return "odd: nothing\n".to_owned();
    }
    let lines = oddities.iter().map(|oddity| format!("odd: {oddity}\n"));
    lines.collect()
}
