//! How many positions go through the head at once, and their hidden states.

use crate::data::Batch;
use crate::{LanguageModel, ModelError};
use tch::{Kind, Tensor};

/// The logits of one slice have at most so many bytes: 64 MiB.
const MAX_LOGITS: i64 = 1 << 26;

/// How many positions go through the head at once, at most, in a model that computes in `kind`: few enough for memory, many
/// enough for the head's weight to be read seldom.
///
/// ```
/// use tch::Kind;
/// assert_eq!(qtuner_train::loss::slice_rows(151_936, Kind::BFloat16), 220);
/// assert_eq!(qtuner_train::loss::slice_rows(151_936, Kind::Float), 110);
/// ```
pub fn slice_rows(vocab_size: i64, kind: Kind) -> i64 {
    let bytes = i64::try_from(kind.elt_size_in_bytes()).unwrap_or(1);
    (MAX_LOGITS / bytes / vocab_size.max(1)).max(1)
}

/// The hidden states of the counting positions `[n, hidden]`.
pub(super) fn counting_states(model: &impl LanguageModel, batch: &Batch) -> Result<Tensor, ModelError> {
    let hidden = model.hidden_states(&batch.tokens, batch.segments.as_ref())?;
    let width = hidden.size().last().copied().unwrap_or(0);
    let positions = batch.positions.f_to_device(hidden.device())?;
    Ok(hidden.f_reshape([-1, width])?.f_index_select(0, &positions)?)
}

/// The logits `[n, vocab]` of hidden states `[n, hidden]`.
pub(super) fn logits(model: &impl LanguageModel, hidden: &Tensor) -> Result<Tensor, ModelError> {
    Ok(model.logits(&hidden.f_unsqueeze(0)?)?.f_squeeze_dim(0)?)
}

/// The slices that cover the rows of `hidden`, as start and length: as few as there may be, of equal length but for the last.
pub(super) fn slices(hidden: &Tensor, vocab_size: i64) -> impl Iterator<Item = (i64, i64)> + use<> {
    let rows = hidden.size()[0];
    let most = slice_rows(vocab_size, hidden.kind());
    let count = rows.div_euclid(most) + i64::from(rows.rem_euclid(most) > 0);
    let step = rows.div_euclid(count.max(1)) + i64::from(rows.rem_euclid(count.max(1)) > 0);
    (0..count).map(move |index| (index * step, step.min(rows - index * step)))
}
