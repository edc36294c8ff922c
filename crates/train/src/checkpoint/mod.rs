//! Checkpoints: everything that a run needs to go on, in a folder that is either whole or not there.
//!
//! ```text
//! <output>/checkpoint-<step>/adapter_config.json        PEFT's files
//!                            adapter_model.safetensors
//!                            optimizer.safetensors      AdamW's moments, f32 values of f16 and bf16 parameters
//!                            trainer_state.json         step, data position, best, configuration, the files' checksums
//! <output>/best.json                                    which checkpoint has the lowest evaluation loss
//! ```
//!
//! A checkpoint is written into a folder whose name starts with `.checkpoint-`, synced, and renamed; one that is deleted is
//! renamed first. So a folder called `checkpoint-<step>` is whole, whenever the process died.
//!
//! There is no state of random generators: the data's order is a function of the seed and the number of samples seen, and
//! libtorch's generator, which dropout draws from, is seeded from the seed and the step at the start of every step.

mod error;
mod keep;
mod read;
mod state;
mod write;

pub use error::CheckpointError;
pub(crate) use keep::{mark_best, prune, remove_leftovers};
pub use read::Checkpoint;
pub use state::{Best, FileMark, TrainerState};
pub(crate) use write::{Contents, write};

use std::path::{Path, PathBuf};

/// What the names of checkpoint folders start with.
const PREFIX: &str = "checkpoint-";
/// What the names of folders start with that are being written or deleted.
const HIDDEN_PREFIX: &str = ".checkpoint-";
/// The optimizer's file.
const OPTIMIZER_FILE: &str = "optimizer.safetensors";
/// The state's file.
const STATE_FILE: &str = "trainer_state.json";
/// The pointer to the best checkpoint.
const BEST_FILE: &str = "best.json";

/// Where the checkpoint of a step is.
pub(crate) fn place(output: &Path, step: u64) -> PathBuf {
    output.join(format!("{PREFIX}{step}"))
}

/// The steps whose checkpoints are in `output`, in order.
pub(crate) fn steps(output: &Path) -> Result<Vec<u64>, CheckpointError> {
    let io = |source| CheckpointError::Io { path: output.to_owned(), source };
    let entries = match std::fs::read_dir(output) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io(error)),
    };
    let mut steps = Vec::new();
    for entry in entries {
        let name = entry.map_err(io)?.file_name();
        let step: Option<u64> = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse().ok());
        steps.extend(step);
    }
    steps.sort_unstable();
    Ok(steps)
}
