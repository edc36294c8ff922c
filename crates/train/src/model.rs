//! What training asks of a language model.

use qtuner_core::ModuleTree;
use tch::Tensor;

/// A causal language model whose head can be applied to a slice of its hidden states.
///
/// The split lets the loss compute the logits of a few tokens at a time: with 150 000 tokens in the vocabulary, those of a
/// whole batch would be the largest tensor of the run.
pub trait LanguageModel: ModuleTree {
    /// The last hidden states `[batch, time, hidden]`, final norm included, of `tokens [batch, time]` (i64).
    ///
    /// `segments [batch, time]` (i64), if given, numbers the documents of a row from 1, and 0 is padding: a token sees the
    /// earlier tokens of its own document alone, and positions start at 0 in each.
    ///
    /// # Errors
    /// [`ModelError`] with the model's own reason.
    fn hidden_states(&self, tokens: &Tensor, segments: Option<&Tensor>) -> Result<Tensor, ModelError>;

    /// The logits `[..., vocab_size]` of hidden states `[..., hidden]`.
    ///
    /// # Errors
    /// [`ModelError`] with the model's own reason.
    fn logits(&self, hidden: &Tensor) -> Result<Tensor, ModelError>;

    /// The size of the last dimension of the logits.
    fn vocab_size(&self) -> i64;
}

/// The model failed; the reason is its own.
#[derive(Debug, thiserror::Error)]
#[error("the model failed: {0}")]
pub struct ModelError(#[source] Box<dyn std::error::Error + Send + Sync>);

impl ModelError {
    /// Wraps the model's own error.
    pub fn new(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(reason.into())
    }
}

impl From<qtuner_core::LayerError> for ModelError {
    fn from(error: qtuner_core::LayerError) -> Self {
        Self::new(error)
    }
}

impl From<tch::TchError> for ModelError {
    fn from(error: tch::TchError) -> Self {
        Self::new(error)
    }
}
