//! Loss and gradients of one batch.

use super::slices::{counting_states, logits, slices};
use crate::data::Batch;
use crate::{LanguageModel, ModelError};
use qtuner_core::autograd;
use qtuner_models::cross_entropy::losses_and_gradient;
use tch::Kind;

/// A sum of losses and how many it is of, so that sums of several batches make an exact mean.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LossSum {
    /// The sum of the targets' losses, in nats.
    pub sum: f64,
    /// How many targets there are.
    pub tokens: usize,
}

impl LossSum {
    /// The mean loss of a target.
    #[allow(clippy::cast_precision_loss, reason = "batches have fewer than 2^53 tokens")]
    pub fn mean(&self) -> f64 {
        self.sum / self.tokens as f64
    }
}

impl std::ops::AddAssign for LossSum {
    fn add_assign(&mut self, other: Self) {
        self.sum += other.sum;
        self.tokens += other.tokens;
    }
}

/// Adds the gradients of `weight` times the batch's summed loss to the model's trainable parameters.
///
/// With `weight = 1/N`, `N` the targets of all batches of a step together, accumulated batches add up to the one large batch.
///
/// # Errors
/// [`ModelError`] when the model or libtorch fails; gradients may be there in part then.
pub fn backward(model: &impl LanguageModel, batch: &Batch, weight: f64) -> Result<LossSum, ModelError> {
    let mut total = LossSum { sum: 0.0, tokens: batch.loss_tokens() };
    if total.tokens == 0 {
        return Ok(total);
    }
    let hidden = counting_states(model, batch)?;
    let detached = hidden.f_detach()?;
    let gradient = detached.f_zeros_like()?;
    for (start, length) in slices(&hidden, model.vocab_size()) {
        let slice = detached.f_narrow(0, start, length)?.f_detach()?.f_set_requires_grad(true)?;
        let logits = logits(model, &slice)?;
        let targets = batch.targets.f_narrow(0, start, length)?;
        let (losses, of_logits) = losses_and_gradient(&logits, &targets, weight)?;
        total.sum += losses.f_sum(Kind::Double)?.f_double_value(&[])?;
        autograd::backward(&logits, &of_logits)?;
        gradient.f_narrow(0, start, length)?.f_copy_(&slice.f_grad()?)?;
    }
    if hidden.requires_grad() {
        autograd::backward(&hidden, &gradient)?;
    }
    Ok(total)
}
