//! The loss of a dataset.

use super::LossSum;
use super::slices::{counting_states, logits, slices};
use crate::data::{Batch, Dataset};
use crate::{LanguageModel, ModelError};
use qtuner_core::{Mode, model as adapters};
use qtuner_models::cross_entropy::losses;
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::ops::ControlFlow;

/// The loss of a dataset, in nats.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Evaluation {
    /// The mean loss of all targets.
    #[serde(deserialize_with = "number")]
    pub loss: f64,
    /// `exp(loss)`.
    #[serde(deserialize_with = "number")]
    pub perplexity: f64,
    /// The mean of the samples' mean losses: every window weighs the same.
    #[serde(deserialize_with = "number")]
    pub sample_mean_loss: f64,
    /// How many samples there are.
    pub samples: usize,
    /// How many targets there are.
    pub tokens: usize,
}

/// JSON has null for what is no finite number.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

impl fmt::Display for Evaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "loss {:.5}, perplexity {:.2} ({} samples, {} tokens)",
            self.loss, self.perplexity, self.samples, self.tokens
        )
    }
}

/// Evaluates `model` on `dataset`, `batch_size` rows at a time, without gradients and without dropout: the model stays in
/// [`Mode::Eval`]. `progress` is called after each batch with the number of samples seen.
///
/// The figures are NaN for an empty dataset.
///
/// # Errors
/// [`ModelError`] when the model or libtorch fails.
pub fn evaluate(
    model: &mut impl LanguageModel,
    dataset: &Dataset,
    batch_size: usize,
    mut progress: impl FnMut(usize),
) -> Result<Evaluation, ModelError> {
    evaluate_first(model, dataset, batch_size, |seen| {
        progress(seen);
        ControlFlow::Continue(())
    })
}

/// The same, until `progress` breaks it off after a batch: then there are no figures, unless it was the last batch.
///
/// # Errors
/// [`ModelError`] when the model or libtorch fails.
pub fn evaluate_while(
    model: &mut impl LanguageModel,
    dataset: &Dataset,
    batch_size: usize,
    progress: impl FnMut(usize) -> ControlFlow<()>,
) -> Result<Option<Evaluation>, ModelError> {
    let found = evaluate_first(model, dataset, batch_size, progress)?;
    Ok((found.samples == dataset.samples().len()).then_some(found))
}

/// The figures of the batches up to the one after which `progress` breaks off.
fn evaluate_first(
    model: &mut impl LanguageModel,
    dataset: &Dataset,
    batch_size: usize,
    mut progress: impl FnMut(usize) -> ControlFlow<()>,
) -> Result<Evaluation, ModelError> {
    adapters::set_mode(model, Mode::Eval);
    let _guard = tch::no_grad_guard();
    let samples: Vec<_> = dataset.samples().iter().collect();
    let mut total = LossSum::default();
    let mut sample_means = 0.0;
    let mut seen = 0;
    for chunk in samples.chunks(batch_size.max(1)) {
        let batch = Batch::new(chunk, dataset.pad())?;
        for sample in sample_losses(model, &batch)? {
            total += sample;
            sample_means += sample.mean();
        }
        seen += chunk.len();
        if progress(seen).is_break() {
            break;
        }
    }
    #[allow(clippy::cast_precision_loss, reason = "datasets have fewer than 2^53 samples")]
    let sample_mean_loss = sample_means / seen as f64;
    let loss = total.mean();
    Ok(Evaluation { loss, perplexity: loss.exp(), sample_mean_loss, samples: seen, tokens: total.tokens })
}

/// The summed loss of each row.
fn sample_losses(model: &impl LanguageModel, batch: &Batch) -> Result<Vec<LossSum>, ModelError> {
    let hidden = counting_states(model, batch)?;
    let mut sums = vec![LossSum::default(); batch.size];
    let mut rows = batch.rows.iter();
    for (start, length) in slices(&hidden, model.vocab_size()) {
        let targets = batch.targets.f_narrow(0, start, length)?;
        let logits = logits(model, &hidden.f_narrow(0, start, length)?)?;
        let losses: Vec<f32> = Vec::try_from(&losses(&logits, &targets)?)?;
        for (loss, row) in losses.into_iter().zip(&mut rows) {
            sums[*row] += LossSum { sum: f64::from(loss), tokens: 1 };
        }
    }
    Ok(sums)
}
