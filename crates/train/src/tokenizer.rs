//! A checkpoint folder's tokenizer: `tokenizer.json`, the special tokens' names, the chat template.

use crate::chat::{ChatTemplate, TemplateError};
use crate::files::read_if_there;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The tokenizer's file.
const TOKENIZER_FILE: &str = "tokenizer.json";
/// Where the special tokens' names and often the chat template are.
const CONFIG_FILE: &str = "tokenizer_config.json";
/// Where the special tokens' names are, too.
const SPECIAL_TOKENS_FILE: &str = "special_tokens_map.json";

/// Whether encoding adds the tokenizer's own special tokens, and decoding shows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpecialTokens {
    /// With them.
    Keep,
    /// Without them.
    Skip,
}

/// Text to token numbers and back, as the checkpoint's folder says.
///
/// Truncation and padding that a `tokenizer.json` may ask for are switched off: the data's arrangement does both.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    path: PathBuf,
    eos: Option<u32>,
    pad: Option<u32>,
    /// Tokens beside the model's own: special ones, and others that are found whole in a text.
    added: BTreeSet<u32>,
    chat_template: Option<ChatTemplate>,
}

impl Tokenizer {
    /// Reads the tokenizer of a checkpoint folder. Only `tokenizer.json` has to be there.
    ///
    /// # Errors
    /// [`TokenizerError`] names the file that is missing, damaged, or names a token that the vocabulary lacks.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self, TokenizerError> {
        let folder = folder.as_ref();
        let path = folder.join(TOKENIZER_FILE);
        let bytes = std::fs::read(&path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound if !folder.exists() => {
                TokenizerError::NoFolder { path: path.clone(), folder: folder.to_owned() }
            }
            std::io::ErrorKind::NotFound => TokenizerError::Missing { path: path.clone() },
            _ => TokenizerError::Io { path: path.clone(), source },
        })?;
        let damaged = |reason: String| TokenizerError::Damaged { path: path.clone(), reason };
        let mut inner =
            tokenizers::Tokenizer::from_bytes(bytes).map_err(|error| damaged(error.to_string()))?;
        inner.with_truncation(None).map_err(|error| damaged(error.to_string()))?;
        inner.with_padding(None);
        let config = read_json(&folder.join(CONFIG_FILE))?;
        let map = read_json(&folder.join(SPECIAL_TOKENS_FILE))?;
        let named = |key: &str| special_token(&config, key).or_else(|| special_token(&map, key));
        let number = |key: &'static str| match named(key) {
            None => Ok(None),
            Some(token) => match inner.token_to_id(&token) {
                Some(id) => Ok(Some(id)),
                None => Err(TokenizerError::UnknownToken { path: folder.join(CONFIG_FILE), key, token }),
            },
        };
        let (eos, pad) = (number("eos_token")?, number("pad_token")?);
        let chat_template = ChatTemplate::open(folder, &config, |key| named(key))?;
        let added = inner.get_added_vocabulary().get_added_tokens_decoder().keys().copied().collect();
        Ok(Self { inner, path, eos, pad, added, chat_template })
    }

    /// The token numbers of `text`.
    ///
    /// # Errors
    /// [`TokenizerError::Text`] when the tokenizer cannot encode it.
    pub fn encode(&self, text: &str, special: SpecialTokens) -> Result<Vec<u32>, TokenizerError> {
        let encoding = self.inner.encode_fast(text, special == SpecialTokens::Keep);
        Ok(encoding.map_err(|error| self.text(&error))?.get_ids().to_vec())
    }

    /// The token numbers of `text`, each with the bytes of `text` that it stands for; added special tokens stand for none.
    ///
    /// # Errors
    /// [`TokenizerError::Text`] when the tokenizer cannot encode it.
    pub fn encode_with_offsets(
        &self,
        text: &str,
        special: SpecialTokens,
    ) -> Result<Vec<(u32, Range<usize>)>, TokenizerError> {
        let encoding = self.inner.encode(text, special == SpecialTokens::Keep);
        let encoding = encoding.map_err(|error| self.text(&error))?;
        let offsets = encoding.get_offsets().iter().map(|&(start, end)| start..end);
        Ok(encoding.get_ids().iter().copied().zip(offsets).collect())
    }

    /// The text of token numbers.
    ///
    /// # Errors
    /// [`TokenizerError::Text`] when the tokenizer cannot decode them.
    pub fn decode(&self, tokens: &[u32], special: SpecialTokens) -> Result<String, TokenizerError> {
        self.inner.decode(tokens, special == SpecialTokens::Skip).map_err(|error| self.text(&error))
    }

    /// The token that ends a text.
    pub fn eos(&self) -> Option<u32> {
        self.eos
    }

    /// Whether `token` may end a text: an added token, as special ones are, or the end-of-text token.
    pub fn can_end(&self, token: u32) -> bool {
        self.eos == Some(token) || self.added.contains(&token)
    }

    /// The token that ends an assistant's turn, if the chat template ends turns with one that may end a text.
    pub fn turn_end(&self) -> Option<u32> {
        let end = self.chat_template()?.turn_end()?;
        let tokens = self.encode(&end, SpecialTokens::Skip).ok()?;
        tokens.into_iter().find(|token| self.can_end(*token))
    }

    /// The number that fills rows up. Nothing ever attends to it or counts it, so any number of the vocabulary will do.
    pub fn pad(&self) -> u32 {
        self.pad.or(self.eos).unwrap_or(0)
    }

    /// One more than the largest token number that encoding can give.
    pub fn vocab_size(&self) -> usize {
        let largest = self.inner.get_vocab(true).into_values().max();
        largest.map_or(0, |id| id as usize + 1)
    }

    /// How conversations become text, if the folder says.
    pub fn chat_template(&self) -> Option<&ChatTemplate> {
        self.chat_template.as_ref()
    }

    /// The chat template, to be changed.
    pub fn chat_template_mut(&mut self) -> Option<&mut ChatTemplate> {
        self.chat_template.as_mut()
    }

    fn text(&self, reason: &tokenizers::Error) -> TokenizerError {
        TokenizerError::Text { path: self.path.clone(), reason: reason.to_string() }
    }
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer")
            .field("path", &self.path)
            .field("vocab_size", &self.vocab_size())
            .field("eos", &self.eos)
            .field("pad", &self.pad)
            .finish_non_exhaustive()
    }
}

/// The JSON object of a file, empty without the file.
fn read_json(path: &Path) -> Result<Value, TokenizerError> {
    let text = read_if_there(path).map_err(|source| TokenizerError::Io { path: path.to_owned(), source })?;
    let Some(text) = text else { return Ok(Value::Null) };
    serde_json::from_str(&text)
        .map_err(|error| TokenizerError::Damaged { path: path.to_owned(), reason: error.to_string() })
}

/// A special token's text: a plain string, or an object with its `content`.
pub(crate) fn special_token(config: &Value, key: &str) -> Option<String> {
    let token = config.get(key)?;
    token.as_str().or_else(|| token.get("content")?.as_str()).map(str::to_owned)
}

/// A tokenizer that cannot be read, or a text that it cannot take.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// There is no tokenizer.
    #[error("{}: not found: convert the tokenizer to a \"fast\" one (`AutoTokenizer.from_pretrained(...).save_pretrained(...)`)", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// There is not even the folder.
    #[error("{}: not found: there is no folder {}", path.display(), folder.display())]
    NoFolder {
        /// The file.
        path: PathBuf,
        /// The folder.
        folder: PathBuf,
    },
    /// The system refused to read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file that is not what it should be.
    #[error("{}: not usable: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A special token that the vocabulary lacks.
    #[error("{}: `{key}` is {token:?}, expected a token that tokenizer.json has", path.display())]
    UnknownToken {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// The token.
        token: String,
    },
    /// The chat template cannot be used.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// A text or token numbers that the tokenizer cannot take.
    #[error("{}: {reason}", path.display())]
    Text {
        /// The tokenizer's file.
        path: PathBuf,
        /// Its reason.
        reason: String,
    },
}
