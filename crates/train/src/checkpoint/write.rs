//! Writing a checkpoint.

use super::Checkpoint;
use super::{CheckpointError, FileMark, HIDDEN_PREFIX, OPTIMIZER_FILE, STATE_FILE, TrainerState, place};
use crate::files::{make_readable, sync_folder, write_synced};
use qtuner_core::{ModuleTree, adapter_file, save_adapter};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What goes into a checkpoint.
pub(crate) struct Contents<'a, M> {
    pub(crate) model: &'a M,
    pub(crate) adapter_name: &'a str,
    pub(crate) optimizer: Vec<u8>,
    pub(crate) state: TrainerState,
}

/// Writes the checkpoint of `contents.state.global_step` into `output` and says where it is.
///
/// A whole checkpoint of that step that is there already stays: it holds the same.
pub(crate) fn write<M: ModuleTree>(
    output: &Path,
    contents: Contents<'_, M>,
) -> Result<PathBuf, CheckpointError> {
    let Contents { model, adapter_name, optimizer, mut state } = contents;
    let place = place(output, state.global_step);
    if place.exists() {
        if Checkpoint::open(&place).is_ok() {
            return Ok(place);
        }
        super::keep::delete(output, &place)?;
    }
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| CheckpointError::Io { path, source }
    };
    fs::create_dir_all(output).map_err(io(output))?;
    let stage = tempfile::Builder::new().prefix(HIDDEN_PREFIX).tempdir_in(output).map_err(io(output))?;
    let folder = stage.path();
    make_readable(folder).map_err(io(folder))?;
    save_adapter(model, adapter_name, folder)?;
    let path = folder.join(OPTIMIZER_FILE);
    write_synced(&path, &optimizer).map_err(io(&path))?;
    state.files = marks(folder)?;
    let path = folder.join(STATE_FILE);
    let json = serde_json::to_vec_pretty(&state).map_err(|error| io(&path)(error.into()))?;
    write_synced(&path, &json).map_err(io(&path))?;
    sync_folder(folder).map_err(io(folder))?;
    fs::rename(folder, &place).map_err(io(&place))?;
    let _moved = stage.keep();
    sync_folder(output).map_err(io(output))?;
    Ok(place)
}

fn marks(folder: &Path) -> Result<BTreeMap<String, FileMark>, CheckpointError> {
    let names = [adapter_file::CONFIG_FILE, adapter_file::MODEL_FILE, OPTIMIZER_FILE];
    names.into_iter().map(|name| Ok((name.to_owned(), mark(&folder.join(name))?))).collect()
}

/// A file's length and checksum.
pub(super) fn mark(path: &Path) -> Result<FileMark, CheckpointError> {
    let bytes = fs::read(path).map_err(|source| CheckpointError::Io { path: path.to_owned(), source })?;
    Ok(FileMark { bytes: bytes.len() as u64, crc32c: crc32c::crc32c(&bytes) })
}
