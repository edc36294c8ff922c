//! A run's activations as integers of two terms, where they are such, exactly.

use std::ops::RangeInclusive;

use super::run::RUN;
use crate::kernel::simd::{Aligned, EXACT_ROWS};

/// Terms of a number, of sixteen bits each: the first one counts 2^16 times the second.
pub(super) const TERMS: usize = 2;

/// Exponents, as f32 has them, of a power of two above a row: its unit is a normal number, and codes that count up to 256 make no
/// infinite sum of 2^26 numbers below 2^89.
const EXPONENTS: RangeInclusive<u32> = 32..=216;

/// The activations of a run, of `M` rows.
pub(super) struct Terms<const M: usize> {
    /// How many pairs of weight rows they meet.
    pub(super) pairs: usize,
    /// Of each pair and row, the terms of both numbers, the first one's in the lower half.
    pub(super) of_pairs: [[[i32; TERMS]; M]; EXACT_ROWS / 2],
    /// The sum of each term over the run.
    pub(super) totals: [[i32; TERMS]; M],
    /// What each term counts.
    pub(super) units: [[f32; TERMS]; M],
}

impl<const M: usize> Terms<M> {
    /// Those of the first `count` numbers of each row, which are finite and of bf16, if each is a multiple of the 2^31st part of a
    /// power of two above its row: eight bits of one number may be 2^23 times those of another.
    #[inline(always)]
    pub(super) fn of(left: &[Aligned<RUN>], count: usize) -> Option<Self> {
        if !count.is_multiple_of(2) || count > EXACT_ROWS {
            return None;
        }
        let mut out = Self {
            pairs: count / 2,
            of_pairs: [[[0; TERMS]; M]; EXACT_ROWS / 2],
            totals: [[0; TERMS]; M],
            units: [[0.0; TERMS]; M],
        };
        for (row, left) in left.iter().enumerate().take(M) {
            let mut numbers = [0.0; EXACT_ROWS];
            numbers[..count].copy_from_slice(&left.0[..count]);
            out.set(row, &numbers)?;
        }
        Some(out)
    }

    /// A row, with zeros behind its numbers.
    #[inline(always)]
    fn set(&mut self, row: usize, numbers: &[f32; EXACT_ROWS]) -> Option<()> {
        let mut largest = 0;
        for number in numbers {
            largest = largest.max(number.to_bits() & 0x7fff_ffff);
        }
        if largest == 0 {
            return Some(());
        }
        // The exponent of a power of two above all numbers, which is 2^31 units.
        let above = (largest >> 23) + 1;
        if !EXPONENTS.contains(&above) {
            return None;
        }
        let unit = f32::from_bits((above - 31) << 23);
        let units_in_one = f32::from_bits((285 - above) << 23);
        let mut exact = true;
        let mut terms = [[0i32; EXACT_ROWS]; TERMS];
        for (index, number) in numbers.iter().enumerate() {
            // Eight bits: below 2^31, and as exact in i32 as in f32.
            #[expect(clippy::cast_possible_truncation, reason = "a fraction is found on the way back")]
            let integer = (number * units_in_one) as i32;
            #[expect(clippy::cast_precision_loss, reason = "it came from an f32")]
            let back = integer as f32 * unit;
            exact &= back.to_bits() == (number + 0.0).to_bits();
            let second = (integer << 16) >> 16;
            terms[0][index] = integer.wrapping_sub(second) >> 16;
            terms[1][index] = second;
        }
        if !exact {
            return None;
        }
        self.units[row] = [unit * 65536.0, unit];
        for (term, of_numbers) in terms.iter().enumerate() {
            for (of_pair, [first, second]) in self.of_pairs.iter_mut().zip(of_numbers.as_chunks().0) {
                of_pair[row][term] = (first & 0xffff) | second << 16;
                self.totals[row][term] += first + second;
            }
        }
        Some(())
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "exact numbers")]
mod tests {
    use half::bf16;
    use proptest::prelude::*;

    use super::*;

    fn of(numbers: &[f32]) -> Option<Terms<1>> {
        let mut left = Aligned([7.0; RUN]);
        left.0[..numbers.len()].copy_from_slice(numbers);
        Terms::of(&[left], numbers.len())
    }

    /// The number that place `index` has terms of.
    fn number(terms: &Terms<1>, index: usize) -> f64 {
        let of_pair = terms.of_pairs[index / 2][0];
        let term =
            |t: usize| f64::from(if index.is_multiple_of(2) { of_pair[t] << 16 } else { of_pair[t] } >> 16);
        (0..TERMS).map(|t| term(t) * f64::from(terms.units[0][t])).sum()
    }

    #[test]
    fn numbers_too_far_apart_too_small_or_too_large_have_no_terms() {
        let far = |exponent: i32| of(&[1.0, 2f32.powi(exponent)]).is_some();
        assert!(far(30) && far(-30) && !far(31) && !far(-31));
        assert!(of(&[0.0, 2f32.powi(-96)]).is_some() && of(&[0.0, 2f32.powi(-97)]).is_none());
        assert!(of(&[0.0, 2f32.powi(88)]).is_some() && of(&[0.0, 2f32.powi(89)]).is_none());
        assert!(of(&[3.0; 3]).is_none() && of(&[3.0; EXACT_ROWS + 2]).is_none());
        assert!(of(&[0.0, -0.0]).is_some());
    }

    proptest! {
        #[test]
        fn terms_are_the_numbers_exactly(
            numbers in prop::collection::vec(prop::array::uniform2((-255i16..256, 0i32..23)), 1..=EXACT_ROWS / 2),
            exponent in -95i32..59,
        ) {
            let number_of = |(digits, shift)| f32::from(digits) * 2f32.powi(exponent + shift);
            let numbers: Vec<f32> = numbers.into_iter().flatten().map(number_of).collect();
            prop_assert!(numbers.iter().all(|number| bf16::from_f32(*number).to_f32() == *number));
            let terms = of(&numbers).expect("near enough");
            let mut totals = [0.0; TERMS];
            for (index, expected) in numbers.iter().enumerate() {
                prop_assert_eq!(number(&terms, index), f64::from(*expected));
            }
            for (t, total) in totals.iter_mut().enumerate() {
                *total = f64::from(terms.totals[0][t]) * f64::from(terms.units[0][t]);
            }
            prop_assert_eq!(totals.iter().sum::<f64>(), numbers.iter().copied().map(f64::from).sum::<f64>());
        }
    }
}
