//! Which checkpoints stay.

use super::{BEST_FILE, Best, CheckpointError, HIDDEN_PREFIX, PREFIX, place, steps};
use crate::files::{STAGE_PREFIX, write_atomically};
use qtuner_core::adapter_file::{CONFIG_FILE, MODEL_FILE};
use std::fs;
use std::path::Path;

/// Writes `best.json`: the best checkpoint's folder, step and evaluation loss.
pub(crate) fn mark_best(output: &Path, best: Best) -> Result<(), CheckpointError> {
    let path = output.join(BEST_FILE);
    let json = serde_json::json!({
        "checkpoint": format!("{PREFIX}{}", best.step),
        "step": best.step,
        "eval_loss": best.eval_loss,
    });
    write_atomically(&path, format!("{json:#}\n").as_bytes())
        .map_err(|source| CheckpointError::Io { path, source })
}

/// Deletes the checkpoints up to step `now` but for the newest `keep_last`, at least one, and the best.
///
/// Those of later steps are left from before the run went back to this one: they are written over when it comes there, and are
/// not counted among the newest, or damaged ones would crowd out whole ones.
pub(crate) fn prune(
    output: &Path,
    keep_last: usize,
    best: Option<Best>,
    now: u64,
) -> Result<(), CheckpointError> {
    let mut steps = steps(output)?;
    steps.retain(|step| *step <= now);
    let old = steps.len().saturating_sub(keep_last.max(1));
    for step in steps.into_iter().take(old).filter(|step| best.is_none_or(|best| best.step != *step)) {
        delete(output, &place(output, step))?;
    }
    Ok(())
}

/// Deletes a checkpoint: out of sight first, so that no part of one is ever taken for a whole.
pub(super) fn delete(output: &Path, checkpoint: &Path) -> Result<(), CheckpointError> {
    let io = |source| CheckpointError::Io { path: checkpoint.to_owned(), source };
    let grave = tempfile::Builder::new().prefix(HIDDEN_PREFIX).tempdir_in(output).map_err(io)?;
    fs::rename(checkpoint, grave.path().join("deleted")).map_err(io)?;
    grave.close().map_err(io)
}

/// Deletes what a run that died left behind: folders and files that were not in their place yet.
pub(crate) fn remove_leftovers(output: &Path) -> Result<(), CheckpointError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| CheckpointError::Io { path, source }
    };
    let unfinished = [STAGE_PREFIX.to_owned(), format!(".{MODEL_FILE}."), format!(".{CONFIG_FILE}.")];
    for entry in fs::read_dir(output).map_err(io(output))? {
        let entry = entry.map_err(io(output))?;
        let (name, path) = (entry.file_name(), entry.path());
        let name = name.to_string_lossy();
        if name.starts_with(HIDDEN_PREFIX) {
            fs::remove_dir_all(&path).map_err(io(&path))?;
        } else if unfinished.iter().any(|prefix| name.starts_with(prefix)) {
            fs::remove_file(&path).map_err(io(&path))?;
        }
    }
    Ok(())
}
