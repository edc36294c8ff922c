//! Why data cannot be used.

use crate::TokenizerError;
use std::fmt;
use std::path::PathBuf;

/// A line that could not be used.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct BadLine {
    /// Its number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

/// Data that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The system refused to read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is not UTF-8.
    #[error("{}: not UTF-8 at byte {offset}, expected a text file: convert it with `iconv -t UTF-8`", path.display())]
    Encoding {
        /// The file.
        path: PathBuf,
        /// The first byte that is not.
        offset: usize,
    },
    /// Too many lines could not be used.
    #[error("{}: more than {limit} bad lines, the file is refused:{}", path.display(), Listed(lines))]
    BadLines {
        /// The file.
        path: PathBuf,
        /// How many are let through.
        limit: usize,
        /// The first ones.
        lines: Vec<BadLine>,
    },
    /// Nothing to learn from.
    #[error("{}: {found} tokens give no sample of {length}: use a longer file, a smaller `sequence_length` or another `eval_fraction`", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// How many tokens there are.
        found: usize,
        /// The sequence length.
        length: usize,
    },
    /// An option out of its range.
    #[error("`{option}` is {found}, expected {expected}")]
    Option {
        /// The option.
        option: &'static str,
        /// Its value.
        found: String,
        /// What it may be.
        expected: &'static str,
    },
    /// The tokenizer failed.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
}

struct Listed<'a>(&'a [BadLine]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}
