//! How what is learned ends: whether a model that has learned it knows where to stop.
//!
//! A run of tokens that the loss counts is an answer, a completion or a text. Its end is its last token that is no blank; only
//! special tokens, other added ones and the end-of-text token can end a generation.

use super::{Document, NoStop, Record};
use crate::{SpecialTokens, Tokenizer, TokenizerError};
use serde::Serialize;
use std::fmt;

/// How a file's answers and texts end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Endings {
    /// The assistant's turns, as the chat template ends them.
    pub answers: Ends,
    /// Completions and texts, to which the end-of-text token is added.
    pub texts: Ends,
}

/// How pieces of one kind end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Ends {
    /// The tokens that stand at an end, with how often they do.
    pub tokens: Vec<EndToken>,
    /// Pieces that end in an ordinary part of a text: nothing says that they end.
    pub open: usize,
}

/// A token that ends a piece.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct EndToken {
    /// Its number.
    pub token: u32,
    /// Its text.
    pub text: String,
    /// How many pieces end in it.
    pub count: usize,
}

impl Endings {
    /// Takes in a document and what it was made from.
    pub(super) fn add(
        &mut self,
        record: &Record,
        document: &Document,
        tokenizer: &Tokenizer,
    ) -> Result<(), TokenizerError> {
        let ends = match record {
            Record::Messages { .. } => &mut self.answers,
            Record::Text(_) | Record::Completion { .. } => &mut self.texts,
        };
        let mut start = 0;
        for run in document.counts.chunk_by(|one, other| one == other) {
            let end = start + run.len();
            if run[0] {
                ends.add(&document.tokens[start..end], tokenizer)?;
            }
            start = end;
        }
        Ok(())
    }

    /// Why a model that learned this would not stop, where `stops` are the tokens that end a generation. Nothing if it would.
    pub fn without_stop(&self, tokenizer: &Tokenizer, stops: &[i64]) -> Vec<NoStop> {
        NoStop::of(self, tokenizer, stops)
    }
}

impl Ends {
    /// How many pieces there are.
    pub fn count(&self) -> usize {
        self.open + self.tokens.iter().map(|end| end.count).sum::<usize>()
    }

    fn add(&mut self, run: &[u32], tokenizer: &Tokenizer) -> Result<(), TokenizerError> {
        for &token in run.iter().rev() {
            let is_end = tokenizer.can_end(token);
            if let Some(end) = self.tokens.iter_mut().find(|end| is_end && end.token == token) {
                end.count += 1;
                return Ok(());
            }
            let text = tokenizer.decode(&[token], SpecialTokens::Keep)?;
            if is_end {
                self.tokens.push(EndToken { token, text, count: 1 });
                return Ok(());
            }
            if !text.trim().is_empty() {
                break;
            }
        }
        self.open += 1;
        Ok(())
    }

    fn describe(&self, what: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.count();
        for EndToken { token, text, count: ended } in &self.tokens {
            writeln!(f, "{ended} of {count} {what} end in {text:?} (token {token}), which the loss counts")?;
        }
        if self.open > 0 {
            writeln!(f, "{} of {count} {what} end without a token that could stop generation", self.open)?;
        }
        Ok(())
    }
}

/// A line for each way to end; nothing for a plain text, which has no ends.
impl fmt::Display for Endings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.answers.describe("answers", f)?;
        self.texts.describe("texts", f)
    }
}
