//! What can go wrong with adapter files.

use crate::InjectError;
use crate::config::ConfigError;
use std::fmt;
use std::path::PathBuf;

/// An adapter that could not be saved or loaded. Nothing has changed: no file is half-written, no model half-loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdapterFileError {
    /// The system refused to read or write.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The folder has no such file.
    #[error("{}: not found; expected a folder with adapter_config.json and adapter_model.safetensors", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A pickle in place of a safetensors file.
    #[error("{}: a pickled adapter, expected adapter_model.safetensors: save it in PEFT with safe_serialization=True", path.display())]
    Pickle {
        /// The pickle.
        path: PathBuf,
    },
    /// The config is unusable.
    #[error("{}: {source}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ConfigError,
    },
    /// The tensor file is damaged.
    #[error("{}: not a whole safetensors file: {reason}", path.display())]
    Safetensors {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A tensor of a dtype that adapters do not have.
    #[error("{}: tensor `{tensor}` has dtype {found}, expected F32, F16, BF16 or F64", path.display())]
    Dtype {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its dtype.
        found: String,
    },
    /// The file's tensors are not those that the config and the model ask for.
    #[error("{}: the tensors do not fit the model:{}", path.display(), Misfit { missing, unexpected, wrong_shape })]
    Misfit {
        /// The file.
        path: PathBuf,
        /// Names that are expected and not there.
        missing: Vec<String>,
        /// Names that are there and not expected.
        unexpected: Vec<String>,
        /// Names, shapes found and shapes expected.
        wrong_shape: Vec<(String, Vec<i64>, Vec<i64>)>,
    },
    /// The adapter does not fit the model.
    #[error("{}: {source}", path.display())]
    Inject {
        /// The folder.
        path: PathBuf,
        /// Why not.
        source: Box<InjectError>,
    },
    /// The model has no adapter of that name.
    #[error("adapter \"{adapter}\" does not exist, found {known:?}")]
    UnknownAdapter {
        /// The name.
        adapter: String,
        /// The names that exist.
        known: Vec<String>,
    },
    /// libtorch refused to copy a tensor.
    #[error("tensor `{tensor}`: {source}")]
    Torch {
        /// The tensor.
        tensor: String,
        /// libtorch's message.
        source: tch::TchError,
    },
}

struct Misfit<'a> {
    missing: &'a [String],
    unexpected: &'a [String],
    wrong_shape: &'a [(String, Vec<i64>, Vec<i64>)],
}

impl fmt::Display for Misfit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 8;
        let mut list = |what: &str, lines: Vec<String>| -> fmt::Result {
            if lines.is_empty() {
                return Ok(());
            }
            write!(f, "\n  {} {what}:", lines.len())?;
            lines.iter().take(SHOWN).try_for_each(|line| write!(f, "\n    {line}"))?;
            if lines.len() > SHOWN { write!(f, "\n    and {} more", lines.len() - SHOWN) } else { Ok(()) }
        };
        list("missing", self.missing.to_vec())?;
        list("unexpected", self.unexpected.to_vec())?;
        let shapes = self.wrong_shape.iter();
        list(
            "of a wrong shape",
            shapes
                .map(|(name, found, expected)| format!("{name}: {found:?}, expected {expected:?}"))
                .collect(),
        )
    }
}
