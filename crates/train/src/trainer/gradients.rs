//! The gradients of a step, scaled where the model's dtype would lose them.
//!
//! The mean over `N` targets weighs each with `1 / N`. In f16, whose numbers end at `6e-8`, the gradients of most logits and many
//! beyond would be zero then, the more the larger a step is. So they are those of a loss `scale` times as large, a power of two
//! near `16 N`, which the optimizer takes out again in f32. In f32 and bf16 that changes no bit: gradients are linear in the loss's
//! weight, and a power of two changes exponents alone.

use super::{TrainError, Trainer};
use crate::LanguageModel;
use crate::data::Batch;
use crate::loss::{self, LossSum};
use crate::optimizer::grad_norm;
use crate::random::mix;

/// Each target's weight is this at most, and above half of it: far from both ends of f16, as far as the gradients of the layers
/// before may be from that of the loss.
const WEIGHT: f64 = 16.0;

/// What the scale is divided by where gradients leave the dtype's range.
const SMALLER: f64 = 16.0;

/// What all batches of a step have left in the parameters.
pub(super) struct Gradients {
    /// Of all targets.
    pub(super) loss: LossSum,
    /// Of the mean loss's gradients, unscaled.
    pub(super) norm: f64,
    /// What the gradients in the parameters are to be divided by.
    pub(super) scale: f64,
}

impl<M: LanguageModel> Trainer<'_, M> {
    /// Makes the gradients of the step's mean loss: anew with a smaller scale if they are not finite, in the end without one.
    pub(super) fn gradients(&mut self, batches: &[Batch]) -> Result<Gradients, TrainError> {
        let targets: usize = batches.iter().map(Batch::loss_tokens).sum();
        #[allow(clippy::cast_precision_loss, reason = "batches have fewer than 2^53 tokens")]
        let targets = targets as f64;
        let mut scale = (WEIGHT * targets).max(1.0).log2().floor().exp2();
        loop {
            // Dropout draws from libtorch's generator, whose state cannot be read: it starts anew from the step's own seed.
            tch::manual_seed(mix(self.config.seed, self.step).cast_signed());
            self.optimizer.zero_grad();
            let mut loss = LossSum::default();
            for batch in batches {
                loss += loss::backward(self.model, batch, scale / targets)?;
            }
            let norm = grad_norm(self.optimizer.parameters())? / scale;
            if norm.is_finite() || !loss.mean().is_finite() || scale <= 1.0 {
                return Ok(Gradients { loss, norm, scale });
            }
            tracing::debug!("step {}: gradients leave their range at scale {scale}", self.step + 1);
            scale = (scale / SMALLER).max(1.0);
        }
    }
}
