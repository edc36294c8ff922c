//! Reading a checkpoint.

use super::write::mark;
use super::{CheckpointError, OPTIMIZER_FILE, STATE_FILE, TrainerState, place, steps};
use qtuner_core::{LoadReport, ModuleTree, Trainability, load_adapter};
use std::fs;
use std::path::{Path, PathBuf};

/// A whole checkpoint: every file is the one that was written.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    path: PathBuf,
    state: TrainerState,
}

impl Checkpoint {
    /// The checkpoint in the folder `path`.
    ///
    /// # Errors
    /// [`CheckpointError::Io`] or [`CheckpointError::Damaged`], with the file.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, CheckpointError> {
        let path = path.into();
        let file = path.join(STATE_FILE);
        let text = fs::read(&file).map_err(|source| CheckpointError::Io { path: file.clone(), source })?;
        let state: TrainerState =
            serde_json::from_slice(&text).map_err(|error| CheckpointError::Damaged {
                path: file,
                found: error.to_string(),
                expected: "a trainer state".to_owned(),
            })?;
        for (name, expected) in &state.files {
            let file = path.join(name);
            let found = mark(&file)?;
            if found != *expected {
                let describe =
                    |mark: super::FileMark| format!("{} bytes, CRC {:08x}", mark.bytes, mark.crc32c);
                return Err(CheckpointError::Damaged {
                    path: file,
                    found: describe(found),
                    expected: describe(*expected),
                });
            }
        }
        Ok(Self { path, state })
    }

    /// The newest whole checkpoint of a run's output folder, nothing if it has no checkpoint (or is not there).
    ///
    /// # Errors
    /// [`CheckpointError::NoneWhole`] when there are checkpoints and all are damaged: starting anew would hide it.
    pub fn newest(output: impl AsRef<Path>) -> Result<Option<Self>, CheckpointError> {
        let output = output.as_ref();
        let steps = steps(output)?;
        let mut newest = None;
        for step in steps.iter().rev() {
            match Self::open(place(output, *step)) {
                Ok(checkpoint) => return Ok(Some(checkpoint)),
                Err(error) => {
                    tracing::warn!("{error}");
                    newest.get_or_insert(error);
                }
            }
        }
        match newest {
            None => Ok(None),
            Some(newest) => Err(CheckpointError::NoneWhole {
                path: output.to_owned(),
                count: steps.len(),
                newest: Box::new(newest),
            }),
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the run stood.
    pub fn state(&self) -> &TrainerState {
        &self.state
    }

    /// Puts the adapter into `model`, which must not have one of that name: in place of a fresh injection.
    ///
    /// # Errors
    /// [`CheckpointError::Adapter`] when it does not fit; the model is unchanged then.
    pub fn load_adapter(
        &self,
        model: &mut impl ModuleTree,
        adapter_name: &str,
    ) -> Result<LoadReport, CheckpointError> {
        Ok(load_adapter(model, &self.path, adapter_name, Trainability::Trainable)?)
    }

    /// The optimizer's bytes.
    pub(crate) fn optimizer(&self) -> Result<Vec<u8>, CheckpointError> {
        let path = self.optimizer_path();
        fs::read(&path).map_err(|source| CheckpointError::Io { path, source })
    }

    /// The optimizer's file.
    pub(crate) fn optimizer_path(&self) -> PathBuf {
        self.path.join(OPTIMIZER_FILE)
    }
}
