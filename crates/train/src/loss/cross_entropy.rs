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
        let softmax =
            log_softmax.f_exp_()?.f_mul_scalar_(weight)?.f_scatter_add_(1, &targets, &of_targets)?;
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use tch::Device;

    /// Against `f64`, which autograd differentiates; so many columns that each row is a piece of its own.
    fn agrees(kind: Kind, bound: f64) {
        let (rows, vocab, weight) = (3, PIECE / 2 + 1, 0.25);
        let ramp = Tensor::arange(rows * vocab, (Kind::Double, Device::Cpu)).reshape([rows, vocab]);
        let logits = ((ramp * 12.9898).sin() * 8.0).to_kind(kind);
        let targets = Tensor::from_slice(&[0, vocab - 1, 77]);
        let (losses, gradient) = losses_and_gradient(&logits, &targets, weight).unwrap();

        let exact = logits.to_kind(Kind::Double).set_requires_grad(true);
        let expected = -exact.log_softmax(-1, None).gather(1, &targets.unsqueeze(1), false).squeeze_dim(1);
        (expected.sum(Kind::Double) * weight).backward();
        let off = (&losses - &expected).abs().max().double_value(&[]);
        // A sum of `vocab` terms in vectors of at least eight, each addition rounded; the logarithm makes it absolute.
        #[allow(clippy::cast_precision_loss, reason = "a small number")]
        let of_sum = vocab as f64 / 8.0 * f64::from(f32::EPSILON) / 2.0;
        assert!(off <= of_sum, "losses: {off} > {of_sum}");
        let off = ((&gradient - exact.grad()).abs() / weight).max().double_value(&[]);
        assert!(off <= bound, "gradient: {off}");
        assert_eq!((losses.kind(), gradient.kind()), (Kind::Float, kind));
        assert!(!losses.requires_grad() && !gradient.requires_grad());
        assert_eq!(super::losses(&logits, &targets).unwrap(), losses);
    }

    #[test]
    fn losses_and_gradient_are_those_of_a_plain_program() {
        agrees(Kind::Float, 1e-6);
        // Rounded once to eight bits: entries are at most 1.
        agrees(Kind::BFloat16, 1.0 / 512.0 + 1e-6);
    }

    #[test]
    fn a_target_outside_of_the_vocabulary_is_an_error() {
        let logits = Tensor::zeros([1, 4], (Kind::Float, Device::Cpu));
        for target in [-1_i64, 4] {
            losses(&logits, &Tensor::from_slice(&[target])).unwrap_err();
        }
    }
}
