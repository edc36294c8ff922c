//! How many positions go through the head at once, and their hidden states.

use crate::data::Batch;
use crate::{LanguageModel, ModelError};
use tch::{Kind, Tensor};

/// The logits of one slice have at most this many elements: 32 MB in f32.
const MAX_LOGITS: i64 = 1 << 23;

/// How many positions go through the head at once.
///
/// ```
/// assert_eq!(qtuner_train::loss::slice_rows(151_936), 55);
/// ```
pub fn slice_rows(vocab_size: i64) -> i64 {
    (MAX_LOGITS / vocab_size.max(1)).max(1)
}

/// The hidden states of the counting positions `[n, hidden]`.
pub(super) fn counting_states(model: &impl LanguageModel, batch: &Batch) -> Result<Tensor, ModelError> {
    let hidden = model.hidden_states(&batch.tokens, batch.segments.as_ref())?;
    let width = hidden.size().last().copied().unwrap_or(0);
    let positions = batch.positions.f_to_device(hidden.device())?;
    Ok(hidden.f_reshape([-1, width])?.f_index_select(0, &positions)?)
}

/// The losses of hidden states `[n, hidden]` against targets `[n]`, reduced as told, in f32.
pub(super) fn losses(
    model: &impl LanguageModel,
    hidden: &Tensor,
    targets: &Tensor,
    reduction: tch::Reduction,
) -> Result<Tensor, ModelError> {
    let logits = model.logits(&hidden.f_unsqueeze(0)?)?.f_squeeze_dim(0)?.f_to_kind(Kind::Float)?;
    let targets = targets.f_to_device(logits.device())?;
    Ok(logits.f_cross_entropy_loss(&targets, None::<&Tensor>, reduction, crate::data::IGNORED, 0.0)?)
}

/// The slices that cover `rows` positions, as start and length.
pub(super) fn slices(rows: i64, vocab_size: i64) -> impl Iterator<Item = (i64, i64)> {
    let step = slice_rows(vocab_size);
    let count = rows.div_euclid(step) + i64::from(rows.rem_euclid(step) > 0);
    (0..count).map(move |index| (index * step, step.min(rows - index * step)))
}
