//! Why a checkpoint cannot be written, read, or gone on from.

use qtuner_core::AdapterFileError;
use std::path::PathBuf;

/// A checkpoint that cannot be written, read, or gone on from.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The system refused to read or write.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The adapter cannot be saved or loaded.
    #[error(transparent)]
    Adapter(#[from] AdapterFileError),
    /// A file that is not the one that was written.
    #[error("{}: {found}, expected {expected}: the checkpoint is damaged, use another", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// Every checkpoint of the folder is damaged.
    #[error("{}: none of its {count} checkpoints is whole; the newest: {newest}", path.display())]
    NoneWhole {
        /// The folder.
        path: PathBuf,
        /// How many there are.
        count: usize,
        /// What is wrong with the newest.
        newest: Box<CheckpointError>,
    },
}
