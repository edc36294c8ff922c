//! The loss of logits, and its gradient.
//!
//! `loss_t = -log softmax(logits_t)[target_t]`, and `d(w * sum_t loss_t) / d logits_t = w * (softmax(logits_t) - [target_t])`, both
//! computed in f32, as many rows at a time as a cache holds: libtorch's operators, one after the other on a whole slice, would
//! bring it from memory and back for each.

use tch::{Kind, TchError, Tensor};

/// The most elements that are worked on at once: 4 MB in f32.
const PIECE: i64 = 1 << 20;

/// The losses `[n]`, in f32, of `logits [n, vocab]` against `targets [n]`.
pub(super) fn losses(logits: &Tensor, targets: &Tensor) -> Result<Tensor, TchError> {
    in_pieces(logits, targets, |_| Ok(()))
}

/// The same, and the gradient of `weight` times their sum, rounded once to the dtype of the logits.
pub(super) fn losses_and_gradient(
    logits: &Tensor,
    targets: &Tensor,
    weight: f64,
) -> Result<(Tensor, Tensor), TchError> {
    let gradient = logits.f_empty_like()?;
    let losses = in_pieces(logits, targets, |piece| {
        let Piece { first, rows, mut log_softmax, targets } = piece;
        let of_targets = Tensor::f_full([rows, 1], -weight, (Kind::Float, targets.device()))?;
        let softmax = log_softmax.f_exp_()?.f_mul_scalar_(weight)?.f_scatter_add_(1, &targets, &of_targets)?;
        gradient.f_narrow(0, first, rows)?.f_copy_(&softmax)
    })?;
    Ok((losses, gradient))
}

/// A few rows.
struct Piece {
    first: i64,
    rows: i64,
    /// `[rows, vocab]`, in f32.
    log_softmax: Tensor,
    /// `[rows, 1]`
    targets: Tensor,
}

/// The losses of all rows; `with` gets what they were computed from.
fn in_pieces(
    logits: &Tensor,
    targets: &Tensor,
    with: impl Fn(Piece) -> Result<(), TchError>,
) -> Result<Tensor, TchError> {
    let _guard = tch::no_grad_guard();
    let (count, vocab) = logits.size2()?;
    let targets = targets.f_to_device(logits.device())?.f_unsqueeze(1)?;
    let losses = Tensor::f_empty([count, 1], (Kind::Float, logits.device()))?;
    let most = (PIECE / vocab.max(1)).max(1);
    let mut first = 0;
    while first < count {
        let rows = most.min(count - first);
        let targets = targets.f_narrow(0, first, rows)?;
        let log_softmax = logits.f_narrow(0, first, rows)?.f_to_kind(Kind::Float)?.f_log_softmax(-1, None)?;
        losses.f_narrow(0, first, rows)?.f_copy_(&log_softmax.f_gather(1, &targets, false)?.f_neg()?)?;
        with(Piece { first, rows, log_softmax, targets })?;
        first += rows;
    }
    losses.f_squeeze_dim(1)
}
