//! The first samples token by token, with what the loss sees.

use super::{Dataset, IGNORED};
use crate::{SpecialTokens, Tokenizer, TokenizerError};
use serde::Serialize;
use std::fmt;

/// One token of a sample.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PreviewToken {
    /// Its number.
    pub token: u32,
    /// Its text; a part of a character shows as a replacement character.
    pub text: String,
    /// The document it belongs to, from 1.
    pub segment: u32,
    /// Whether the loss counts it as a target.
    pub loss: bool,
}

/// One sample.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PreviewSample {
    /// Its tokens.
    pub tokens: Vec<PreviewToken>,
}

/// The first samples of a dataset. Its `Display` has one line a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Preview {
    /// The samples.
    pub samples: Vec<PreviewSample>,
}

/// Shows the first `count` samples.
///
/// # Errors
/// [`TokenizerError::Text`] when a token cannot be decoded.
pub fn preview(dataset: &Dataset, tokenizer: &Tokenizer, count: usize) -> Result<Preview, TokenizerError> {
    let mut samples = Vec::new();
    for sample in dataset.samples().iter().take(count) {
        let targets = sample.targets();
        let mut tokens = Vec::new();
        for (position, (&token, &segment)) in sample.tokens().iter().zip(sample.segments()).enumerate() {
            tokens.push(PreviewToken {
                token,
                text: tokenizer.decode(&[token], SpecialTokens::Keep)?,
                segment,
                loss: position > 0 && targets[position - 1] != IGNORED,
            });
        }
        samples.push(PreviewSample { tokens });
    }
    Ok(Preview { samples })
}

impl fmt::Display for Preview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, sample) in self.samples.iter().enumerate() {
            let counted = sample.tokens.iter().filter(|token| token.loss).count();
            let all = sample.tokens.len();
            writeln!(f, "sample {}: {all} tokens, {counted} in the loss", index + 1)?;
            writeln!(f, "{:>5}  {:>7}  {:>8}  loss  text", "place", "token", "document")?;
            for (place, token) in sample.tokens.iter().enumerate() {
                let loss = if token.loss { "yes" } else { "-" };
                let PreviewToken { token: id, text, segment, .. } = token;
                writeln!(f, "{place:>5}  {id:>7}  {segment:>8}  {loss:<4}  {text:?}")?;
            }
        }
        Ok(())
    }
}
