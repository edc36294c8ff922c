//! The loss of logits, and its gradient.
//!
//! `loss_t = -log softmax(logits_t)[target_t]`, and `d(w * sum_t loss_t) / d logits_t = w * (softmax(logits_t) - [target_t])`, both
//! computed in f32: row by row (`extension`) where logits are f32 or bf16 on the CPU, with libtorch's operators elsewhere, as
//! many rows at a time as a cache holds: one after the other on all of them, these would bring them from memory and back for
//! each.

use crate::extension;
use tch::{Kind, TchError, Tensor};

/// The most elements that are worked on at once: 4 MB in f32.
const PIECE: i64 = 1 << 20;

/// The losses `[n]`, in f32, of `logits [n, vocab]` against `targets [n]`.
///
/// # Errors
/// If a target is outside of the vocabulary, or there is not one for each row.
///
/// ```
/// use qtuner_models::cross_entropy::losses;
/// use tch::Tensor;
/// let logits = Tensor::from_slice(&[0.0_f32, 0.0, 5.0, 0.0]).view([2, 2]);
/// let losses: Vec<f32> = Vec::try_from(&losses(&logits, &Tensor::from_slice(&[1_i64, 0]))?)?;
/// // Of two equal ones, and of one that is e^5 times as likely as the other.
/// assert!((losses[0] - 2_f32.ln()).abs() < 1e-6 && (losses[1] - (-5_f32).exp().ln_1p()).abs() < 1e-6);
/// # Ok::<(), tch::TchError>(())
/// ```
pub fn losses(logits: &Tensor, targets: &Tensor) -> Result<Tensor, TchError> {
    if let Some(losses) = extension::losses(logits, targets)? {
        return Ok(losses);
    }
    in_pieces(logits, targets, |_| Ok(()))
}

/// The same, and the gradient of `weight` times their sum, rounded once to the dtype of the logits.
///
/// # Errors
/// As for [`losses`].
///
/// ```
/// use qtuner_models::cross_entropy::losses_and_gradient;
/// use tch::Tensor;
/// let logits = Tensor::from_slice(&[0.0_f32, 0.0]).view([1, 2]);
/// let (_, gradient) = losses_and_gradient(&logits, &Tensor::from_slice(&[1_i64]), 2.0)?;
/// assert_eq!(Vec::<f32>::try_from(&gradient.view([2]))?, [1.0, -1.0]);
/// # Ok::<(), tch::TchError>(())
/// ```
pub fn losses_and_gradient(
    logits: &Tensor,
    targets: &Tensor,
    weight: f64,
) -> Result<(Tensor, Tensor), TchError> {
    if let Some(made) = extension::losses_and_gradient(logits, targets, weight)? {
        return Ok(made);
    }
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
    if targets.size() != [count] {
        return Err(TchError::Shape(format!("{count} rows of logits have targets {:?}", targets.size())));
    }
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
        // By libtorch's operators.
        agrees(Kind::Half, 1.0 / 4096.0 + 1e-6);
    }

    /// Each entry of the gradient as a part of itself: `w * softmax` is right in all its digits, however small.
    #[test]
    fn every_entry_of_a_gradient_is_right_in_its_own_digits() {
        // Some differences, and a power off by two units: of 2^-23, and of the greatest difference, 16, times that.
        let of_f32 = 64.0 * f64::from(f32::EPSILON);
        for (kind, half_a_place, least) in [
            (Kind::Float, 0.0, 1e-37),
            (Kind::BFloat16, 2f64.powi(-8), 1e-37),
            (Kind::Half, 2f64.powi(-11), 2f64.powi(-24)),
        ] {
            for (rows, vocab) in [(1, 1), (3, 15), (40, 17), (2, 40), (9, 4099), (2, 9001)] {
                let weight = 0.75;
                let ramp = Tensor::arange(rows * vocab, (Kind::Double, Device::Cpu)).reshape([rows, vocab]);
                let logits = ((ramp * 12.9898).sin() * 8.0).to_kind(kind);
                let targets = (Tensor::arange(rows, (Kind::Int64, Device::Cpu)) * 7 + 5).remainder(vocab);
                let (losses, gradient) = losses_and_gradient(&logits, &targets, weight).unwrap();
                let log_softmax = logits.to_kind(Kind::Double).log_softmax(-1, Kind::Double);
                let own = Tensor::zeros_like(&log_softmax).scatter_value(1, &targets.unsqueeze(1), 1.0);
                let expected = (log_softmax.exp() - &own) * weight;
                // What is taken away from the target's entry is rounded with it.
                let allowed =
                    expected.abs() * (1.01 * half_a_place + of_f32) + own * (of_f32 * weight) + least;
                let worst =
                    ((gradient.to_kind(Kind::Double) - expected).abs() / allowed).max().double_value(&[]);
                assert!(worst <= 1.0, "{kind:?}, {rows} x {vocab}: {worst} times the bound");
                let of_targets = -log_softmax.gather(1, &targets.unsqueeze(1), false).squeeze_dim(1);
                let off = (losses.to_kind(Kind::Double) - &of_targets).abs().max().double_value(&[]);
                assert!(off <= of_f32, "{kind:?}, {rows} x {vocab}: {off}");
            }
        }
    }

    #[test]
    fn a_target_outside_of_the_vocabulary_is_an_error() {
        let logits = Tensor::zeros([1, 4], (Kind::Float, Device::Cpu));
        for logits in [&logits, &logits.to_kind(Kind::Half)] {
            for target in [-1_i64, 4] {
                losses(logits, &Tensor::from_slice(&[target])).unwrap_err();
            }
            losses(logits, &Tensor::from_slice(&[0_i64, 0])).unwrap_err();
        }
    }

    /// Nothing hides that a model is damaged, and logits that nothing can be are as unlikely as they say.
    #[test]
    fn what_is_no_number_shows_and_what_is_infinite_counts_for_nothing() {
        for kind in [Kind::Float, Kind::BFloat16, Kind::Half] {
            let logits = Tensor::zeros([3, 40], (kind, Device::Cpu));
            let _ = logits.get(0).get(17).fill_(f64::NAN);
            let _ = logits.get(1).narrow(0, 0, 36).fill_(f64::NEG_INFINITY);
            let targets = Tensor::from_slice(&[0_i64, 38, 0]);
            let (losses, gradient) = losses_and_gradient(&logits, &targets, 1.0).unwrap();
            let losses: Vec<f32> = Vec::try_from(&losses).unwrap();
            assert!(losses[0].is_nan() && gradient.get(0).isnan().any().int64_value(&[]) == 1);
            assert!(
                (losses[1] - 4_f32.ln()).abs() < 1e-3 && (losses[2] - 40_f32.ln()).abs() < 1e-2,
                "{losses:?}"
            );
            assert_eq!(gradient.get(1).narrow(0, 0, 36).count_nonzero(0).int64_value(&[]), 0);
        }
    }
}
