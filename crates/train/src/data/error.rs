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
    #[error("{}: {}", path.display(), Nothing { found: *found, length: *length, lines: bad_lines })]
    Empty {
        /// The file.
        path: PathBuf,
        /// How many tokens there are.
        found: usize,
        /// The sequence length.
        length: usize,
        /// The lines that were left out.
        bad_lines: Vec<BadLine>,
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

/// Bad lines that an error shows.
const SHOWN: usize = 10;

struct Listed<'a>(&'a [BadLine]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(SHOWN).try_for_each(|line| write!(f, "\n  {line}"))?;
        match self.0.len().checked_sub(SHOWN) {
            None | Some(0) => Ok(()),
            Some(more) => write!(f, "\n  and {more} more"),
        }
    }
}

struct Nothing<'a> {
    found: usize,
    length: usize,
    lines: &'a [BadLine],
}

impl fmt::Display for Nothing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { found, length, lines } = self;
        let gives = if *found == 1 { "token gives" } else { "tokens give" };
        match (found, lines) {
            (0, []) => write!(f, "the file is empty, expected a text or lines of JSON"),
            (_, []) => write!(
                f,
                "{found} {gives} no sample of {length}: use a longer file, a smaller `sequence_length` or another \
                 `eval_fraction`"
            ),
            (0, [line]) => write!(f, "its only line cannot be used:\n  {line}"),
            (0, lines) => write!(f, "none of its {} lines can be used:{}", lines.len(), Listed(lines)),
            (_, lines) => write!(
                f,
                "{found} {gives} no sample of {length}, and {} lines cannot be used:{}",
                lines.len(),
                Listed(lines)
            ),
        }
    }
}
