//! How the next token is chosen, and when to stop.

use crate::ModelError;

/// How texts are generated; the default is greedy.
///
/// The order is transformers': repetition penalty, temperature, top-k, top-p.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerationOptions {
    /// New tokens in a text at most.
    pub max_new_tokens: usize,
    /// Logits are divided by it; at 0 the likeliest token is taken, whatever the options below.
    pub temperature: f64,
    /// Only so many of the likeliest tokens are drawn from.
    pub top_k: Option<usize>,
    /// Only the likeliest tokens that together have at least this probability are drawn from.
    pub top_p: Option<f64>,
    /// Logits of tokens that the text has already are divided by it where positive and multiplied where negative; 1 is off.
    pub repetition_penalty: f64,
    /// The seed: the same one gives the same texts.
    pub seed: u64,
    /// Tokens that end a text; without it, the model's.
    pub eos_token_ids: Option<Vec<i64>>,
}

impl Default for GenerationOptions {
    fn default() -> Self {
        Self {
            max_new_tokens: 128,
            temperature: 0.0,
            top_k: None,
            top_p: None,
            repetition_penalty: 1.0,
            seed: 0,
            eos_token_ids: None,
        }
    }
}

impl GenerationOptions {
    /// Checks every option by itself.
    ///
    /// # Errors
    /// [`ModelError::Input`] with the first option that is out of its range.
    pub fn validate(&self) -> Result<(), ModelError> {
        let refuse = |what, found: String, expected: &str| {
            Err(ModelError::Input { what, found, expected: expected.to_owned() })
        };
        if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            return refuse("temperature", self.temperature.to_string(), "0 or more");
        }
        if self.top_k == Some(0) {
            return refuse("top_k", "0".to_owned(), "1 or more");
        }
        if let Some(top_p) = self.top_p.filter(|top_p| !(*top_p > 0.0 && *top_p <= 1.0)) {
            return refuse("top_p", top_p.to_string(), "more than 0 and at most 1");
        }
        if !(self.repetition_penalty.is_finite() && self.repetition_penalty > 0.0) {
            return refuse("repetition_penalty", self.repetition_penalty.to_string(), "more than 0");
        }
        Ok(())
    }
}
