//! Records to tokens, with what the loss counts.
//!
//! A document ends with the end-of-text token, so that the model learns to stop; a conversation ends as its template ends a
//! turn. Prompt and completion are encoded as one text, as they stand in a text; a token over the border
//! counts, as in transformers' assistant masks: otherwise the answer's first word would never be learned.

use super::Record;
use crate::chat::assistant_spans;
use crate::{SpecialTokens, Tokenizer};
use std::ops::Range;

/// Tokens, and which of them the loss counts; both have one length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The token numbers.
    pub tokens: Vec<u32>,
    /// Whether the loss counts the token as a target.
    pub counts: Vec<bool>,
}

impl Document {
    /// Encodes a record.
    ///
    /// # Errors
    /// The reason, for the report of bad lines.
    pub fn encode(record: &Record, tokenizer: &Tokenizer) -> Result<Self, String> {
        match record {
            Record::Text(text) => {
                let tokens =
                    tokenizer.encode(text, SpecialTokens::Keep).map_err(|error| error.to_string())?;
                let counts = vec![true; tokens.len()];
                Ok(Self { tokens, counts }.ended(tokenizer))
            }
            Record::Completion { prompt, completion } => {
                let text = format!("{prompt}{completion}");
                let completion = prompt.len()..text.len();
                Ok(Self::spoken(&text, std::slice::from_ref(&completion), SpecialTokens::Keep, tokenizer)?
                    .ended(tokenizer))
            }
            Record::Messages { messages, tools } => {
                let template = tokenizer.chat_template().ok_or(
                    "the tokenizer has no chat template: use `prompt` and `completion`, or add chat_template.jinja",
                )?;
                let (text, spans) =
                    assistant_spans(template, messages, tools.as_ref()).map_err(|error| error.to_string())?;
                // The template has written the special tokens itself.
                Self::spoken(&text, &spans, SpecialTokens::Skip, tokenizer)
            }
        }
    }

    /// The tokens of `text`; those within `spans` count.
    fn spoken(
        text: &str,
        spans: &[Range<usize>],
        special: SpecialTokens,
        tokenizer: &Tokenizer,
    ) -> Result<Self, String> {
        let encoded = tokenizer.encode_with_offsets(text, special).map_err(|error| error.to_string())?;
        let within = |token: &Range<usize>| {
            token.start < token.end
                && spans.iter().any(|span| span.start < token.end && token.start < span.end)
        };
        let counts = encoded.iter().map(|(_, range)| within(range)).collect();
        Ok(Self { tokens: encoded.into_iter().map(|(token, _)| token).collect(), counts })
    }

    /// With the end-of-text token at its end, which counts.
    fn ended(mut self, tokenizer: &Tokenizer) -> Self {
        if let Some(eos) = tokenizer.eos() {
            if self.tokens.last() != Some(&eos) {
                self.tokens.push(eos);
                self.counts.push(true);
            }
            if let Some(last) = self.counts.last_mut() {
                *last = true;
            }
        }
        self
    }
}
