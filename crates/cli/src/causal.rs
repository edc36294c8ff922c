//! A model of `qtuner-models` as the language model that `qtuner-train` trains and evaluates.

use crate::dtype::Dtype;
use crate::failure::Failure;
use crate::hints::FOREIGN_TOKENS;
use qtuner_core::tree::{Leaves, LeavesMut, ModulePath};
use qtuner_core::{ModuleTree, model};
use qtuner_models::{CausalLm, ModelInput, OpenOptions};
use qtuner_train::{LanguageModel, ModelError};
use std::path::Path;
use tch::Tensor;

/// A language model out of a folder. Its layers have the names that they have in the folder.
#[derive(Debug)]
pub(crate) struct Causal(CausalLm);

impl Causal {
    /// Opens a folder.
    pub(crate) fn open(folder: &Path, dtype: Dtype) -> Result<Self, qtuner_models::ModelError> {
        let options = OpenOptions { compute: dtype.kind(), ..OpenOptions::default() };
        let mut model = CausalLm::open(folder, &options)?;
        model::arrange_for(&mut model, dtype.kind()).map_err(qtuner_models::ModelError::from)?;
        Ok(Self(model))
    }

    /// Refuses data with a token number that the model does not have, by the number `above` the largest one.
    pub(crate) fn refuse_tokens(&self, above: i64) -> Result<(), Failure> {
        let size = self.0.vocab_size();
        if above <= size {
            return Ok(());
        }
        let message = format!("the tokenizer gives tokens up to {}, the model has {size}", above - 1);
        Err(Failure::new(message, FOREIGN_TOKENS))
    }

    /// The model itself.
    pub(crate) fn inner(&self) -> &CausalLm {
        &self.0
    }
}

impl ModuleTree for Causal {
    fn leaves<'m>(&'m self, path: &ModulePath, leaves: &mut Leaves<'m>) {
        self.0.leaves(path, leaves);
    }

    fn leaves_mut<'m>(&'m mut self, path: &ModulePath, leaves: &mut LeavesMut<'m>) {
        self.0.leaves_mut(path, leaves);
    }
}

impl LanguageModel for Causal {
    fn hidden_states(&self, tokens: &Tensor, segments: Option<&Tensor>) -> Result<Tensor, ModelError> {
        self.0.hidden_states(&ModelInput { tokens, segments }).map_err(ModelError::new)
    }

    fn logits(&self, hidden: &Tensor) -> Result<Tensor, ModelError> {
        self.0.logits(hidden).map_err(ModelError::new)
    }

    fn vocab_size(&self) -> i64 {
        self.0.vocab_size()
    }
}
