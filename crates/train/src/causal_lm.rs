//! The models of `qtuner-models` as language models to train.

use crate::{LanguageModel, ModelError};
use qtuner_models::{CausalLm, ModelInput};
use tch::Tensor;

impl LanguageModel for CausalLm {
    fn hidden_states(&self, tokens: &Tensor, segments: Option<&Tensor>) -> Result<Tensor, ModelError> {
        let tokens = tokens.f_to_device(self.device())?;
        let segments = segments.map(|segments| segments.f_to_device(self.device())).transpose()?;
        let input = ModelInput { tokens: &tokens, segments: segments.as_ref() };
        Ok(CausalLm::hidden_states(self, &input)?)
    }

    fn logits(&self, hidden: &Tensor) -> Result<Tensor, ModelError> {
        Ok(CausalLm::logits(self, hidden)?)
    }

    fn vocab_size(&self) -> i64 {
        CausalLm::vocab_size(self)
    }
}

impl From<qtuner_models::ModelError> for ModelError {
    fn from(error: qtuner_models::ModelError) -> Self {
        Self::new(error)
    }
}
