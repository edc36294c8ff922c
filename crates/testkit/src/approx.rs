//! Values known up to a bound, and the arithmetic of the bounds.
//!
//! A sum of `k` products in f32, in any order, is off by at most `k u sum |x||w|` to first order, where `u = 2^-24`;
//! rounding `y` to a dtype by at most `u(dtype) |y|`, or half its smallest subnormal. (N. Higham, Accuracy and Stability of
//! Numerical Algorithms, 3.1.) Second-order terms are covered by [`SECOND_ORDER`].

use crate::bytes::all;
use crate::run::{Broken, Verdict, ensure};
use tch::{Kind, Tensor};

/// The unit roundoff of f32.
pub(crate) const UNIT_F32: f64 = 1.0 / 16_777_216.0;

/// Products of two roundings, relative to the roundings: bf16's, the coarsest, is `2^-8`.
const SECOND_ORDER: f64 = 1.0 + 1.0 / 64.0;

/// Half the distance between 1 and the next number.
pub(crate) fn unit(kind: Kind) -> f64 {
    match kind {
        Kind::Half => 2f64.powi(-11),
        Kind::BFloat16 => 2f64.powi(-8),
        Kind::Float => UNIT_F32,
        _ => 2f64.powi(-53),
    }
}

/// The smallest positive number.
pub(crate) fn smallest(kind: Kind) -> f64 {
    match kind {
        Kind::Half => 2f64.powi(-24),
        Kind::BFloat16 => 2f64.powi(-133),
        Kind::Float => 2f64.powi(-149),
        _ => f64::from_bits(1),
    }
}

/// The largest finite number.
fn largest(kind: Kind) -> f64 {
    match kind {
        Kind::Half => 65504.0,
        Kind::BFloat16 => 3.389_531_389_251_535_5e38,
        Kind::Float => f64::from(f32::MAX),
        _ => f64::MAX,
    }
}

/// `value +- bound`, elementwise, in f64.
pub(crate) struct Approx {
    pub(crate) value: Tensor,
    pub(crate) bound: Tensor,
}

impl Approx {
    /// A tensor as it stands.
    pub(crate) fn exact(tensor: &Tensor) -> Self {
        let value = tensor.detach().to_kind(Kind::Double);
        Self { bound: value.zeros_like(), value }
    }

    /// `value`, which was summed from `terms` products in f32 whose absolute values sum to `magnitude`.
    pub(crate) fn summed(value: Tensor, magnitude: &Tensor, terms: i64) -> Self {
        #[allow(clippy::cast_precision_loss, reason = "lengths of sums are far below 2^53")]
        let terms = terms as f64;
        Self { value, bound: magnitude * (terms * UNIT_F32) + terms * smallest(Kind::Float) }
    }

    /// With `more` added to the bound.
    pub(crate) fn widened(self, more: &Tensor) -> Self {
        Self { bound: self.bound + more, value: self.value }
    }

    /// Rounded to `kind`.
    pub(crate) fn rounded_to(self, kind: Kind) -> Self {
        let rounding = self.value.abs() * unit(kind) + smallest(kind);
        self.widened(&rounding)
    }

    /// The sum, in the same arithmetic.
    pub(crate) fn plus(self, other: &Self) -> Self {
        Self { value: self.value + &other.value, bound: self.bound + &other.bound }
    }

    /// Whether `found` lies within the bound everywhere. A result beyond the range of its dtype may be infinite; one that is
    /// infinite or NaN by definition, as infinite weights make it, must be.
    pub(crate) fn holds(&self, what: &str, found: &Tensor) -> Verdict {
        let expected_size = self.value.size();
        ensure!(
            found.size() == expected_size,
            "{what} has shape {:?}, expected {expected_size:?}",
            found.size()
        );
        let number = found.detach().to_kind(Kind::Double);
        let bound = &self.bound * SECOND_ORDER;
        let difference = (&number - &self.value).abs();
        let close = difference.le_tensor(&bound).logical_and(&self.value.isfinite());
        let same = number.eq_tensor(&self.value).logical_or(&number.isnan().logical_and(&self.value.isnan()));
        let beyond = (self.value.abs() + &bound).ge(largest(found.kind()) * (1.0 - unit(found.kind())));
        let overflown =
            beyond.logical_and(&number.isinf()).logical_and(&(number.sign() * self.value.sign()).ge(0.0));
        let fine = close.logical_or(&overflown).logical_or(&same);
        if all(&fine) {
            return Ok(());
        }
        let index = fine.logical_not().to_kind(Kind::Int).view([-1]).argmax(0, false).int64_value(&[]);
        let at = |tensor: &Tensor| tensor.contiguous().view([-1]).double_value(&[index]);
        Err(Broken::new(format!(
            "{what} {:?} {expected_size:?} is {:e} at index {index}, expected {:e} within {:e}, off by {:e}",
            found.kind(),
            at(&number),
            at(&self.value),
            at(&bound),
            at(&difference)
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(expected: f64, bound: f64, found: f64, kind: Kind) -> bool {
        let of = |value: f64| Tensor::from_slice(&[value]);
        let expected = Approx { value: of(expected), bound: of(bound) };
        expected.holds("a number", &of(found).to_kind(kind)).is_ok()
    }

    #[test]
    fn a_value_holds_up_to_its_bound() {
        assert!(holds(1.0, 0.25, 1.25, Kind::Float));
        assert!(!holds(1.0, 0.25, 1.5, Kind::Float));
        assert!(!holds(1.0, 0.25, f64::NAN, Kind::Float));
        assert!(!holds(1.0, 0.25, f64::INFINITY, Kind::Float));
    }

    #[test]
    fn only_a_value_beyond_the_range_may_become_infinite() {
        assert!(holds(7e4, 1.0, f64::INFINITY, Kind::Half));
        assert!(!holds(7e4, 1.0, f64::NEG_INFINITY, Kind::Half));
        assert!(!holds(6e4, 1.0, f64::INFINITY, Kind::Half));
    }

    #[test]
    fn an_infinite_or_undefined_value_has_to_be_one() {
        assert!(holds(f64::INFINITY, f64::INFINITY, f64::INFINITY, Kind::Float));
        assert!(!holds(f64::INFINITY, f64::INFINITY, 1.0, Kind::Float));
        assert!(holds(f64::NAN, f64::NAN, f64::NAN, Kind::Float));
        assert!(!holds(f64::NAN, f64::NAN, 1.0, Kind::Float));
    }

    #[test]
    fn rounding_to_a_dtype_stays_within_the_bound() {
        for kind in [Kind::Half, Kind::BFloat16, Kind::Float] {
            for value in [1.0 + 1.0 / 3.0, -65503.9, 3e-8, 1e-45, 0.0] {
                let exact = Approx::exact(&Tensor::from_slice(&[value])).rounded_to(kind);
                let found = Tensor::from_slice(&[value]).to_kind(kind);
                assert!(exact.holds("a number", &found).is_ok(), "{value} in {kind:?}");
            }
        }
    }
}
