//! Why a model that has learned the data would not stop.

use super::{EndToken, Endings, Ends};
use crate::chat::ChatTemplate;
use crate::{SpecialTokens, Tokenizer};
use std::fmt;

/// A reason why a model that has learned the data would go on after an answer. Its `Display` is one sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoStop {
    /// The last token is not among those that end a generation.
    NotListed {
        /// What ends in it: `answers` or `texts`.
        what: &'static str,
        /// The token, and how many of them end in it.
        end: EndToken,
        /// How many of them there are.
        of: usize,
        /// The tokens that end a generation.
        stops: Vec<i64>,
    },
    /// The chat template ends a turn with a text that is several ordinary tokens.
    Split {
        /// The text.
        text: String,
        /// How many tokens it is.
        pieces: usize,
    },
    /// The chat template writes nothing after an answer.
    NothingWritten {
        /// How many answers have no end.
        open: usize,
    },
    /// Completions and texts have no end, because the tokenizer names no end-of-text token.
    NoEos {
        /// How many there are.
        open: usize,
    },
}

impl NoStop {
    pub(super) fn of(endings: &Endings, tokenizer: &Tokenizer, stops: &[i64]) -> Vec<Self> {
        let kinds = [("answers", &endings.answers), ("texts", &endings.texts)];
        let mut reasons: Vec<Self> =
            kinds.into_iter().flat_map(|(what, ends)| Self::not_listed(what, ends, stops)).collect();
        if endings.answers.open > 0 {
            let written = tokenizer.chat_template().and_then(ChatTemplate::turn_end);
            let text = written.unwrap_or_default().trim().to_owned();
            let pieces = tokenizer.encode(&text, SpecialTokens::Skip).map_or(0, |tokens| tokens.len());
            reasons.push(if pieces == 0 {
                Self::NothingWritten { open: endings.answers.open }
            } else {
                Self::Split { text, pieces }
            });
        }
        if endings.texts.open > 0 {
            reasons.push(Self::NoEos { open: endings.texts.open });
        }
        reasons
    }

    fn not_listed(what: &'static str, ends: &Ends, stops: &[i64]) -> impl Iterator<Item = Self> {
        let of = ends.count();
        let unknown = ends.tokens.iter().filter(|end| !stops.contains(&i64::from(end.token)));
        unknown.map(move |end| Self::NotListed { what, end: end.clone(), of, stops: stops.to_vec() })
    }

    /// The way out.
    pub fn hint(&self) -> String {
        match self {
            Self::NotListed { end, .. } => {
                format!("add {} to `eos_token_id` in the model's generation_config.json", end.token)
            }
            Self::Split { text, .. } => format!(
                "take the tokenizer that has {text:?} as one token, or end turns with {{{{ eos_token }}}} in the chat template"
            ),
            Self::NothingWritten { .. } => {
                "write {{ eos_token }} after the assistant's words in the chat template".to_owned()
            }
            Self::NoEos { .. } => "name an `eos_token` in tokenizer_config.json".to_owned(),
        }
    }
}

impl fmt::Display for NoStop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotListed { what, end: EndToken { token, text, count }, of, stops } => write!(
                f,
                "{count} of {of} {what} end in {text:?} (token {token}), and generation would go on after it: the model's \
                 eos_token_id is {stops:?}"
            ),
            Self::Split { text, pieces } => write!(
                f,
                "the chat template ends a turn with {text:?}, which is {pieces} tokens and not one to this tokenizer: nothing \
                 stops generation there"
            ),
            Self::NothingWritten { open } => {
                write!(f, "{open} answers have no end to learn: the chat template writes nothing after them")
            }
            Self::NoEos { open } => {
                write!(f, "{open} texts have no end to learn: the tokenizer names no eos_token")
            }
        }
    }
}
