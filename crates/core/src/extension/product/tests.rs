//! Every instruction set on whole numbers, whose products and sums are exact in f32 in any order.

#![allow(clippy::cast_precision_loss, reason = "small numbers")]
#![allow(clippy::many_single_char_names, reason = "the letters of the formulas")]

use super::dense::Dense;
use super::dots::Dots;
use super::element::Element;
use super::narrow::{Narrow, Outer};
#[cfg(target_arch = "x86_64")]
use super::simd::{Avx2, Avx512};
use super::simd::{Job, Portable};
use super::sums::{Base, Sums, Workspace};
use super::turn::Turn;
use super::view::{Matrix, View};
use half::bf16;
use proptest::prelude::*;

/// One of the sets.
#[derive(Debug, Clone, Copy)]
enum Set {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
}

impl Set {
    /// Those that the CPU has.
    fn available() -> Vec<Self> {
        #[allow(unused_mut, reason = "there may be no others")]
        let mut sets = vec![Self::Portable];
        #[cfg(target_arch = "x86_64")]
        sets.extend(Avx2::detect().map(Self::Avx2).into_iter().chain(Avx512::detect().map(Self::Avx512)));
        sets
    }

    fn run(self, job: impl Job) {
        match self {
            Self::Portable => job.run(Portable),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(simd) => simd.vectorize(job),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(simd) => simd.vectorize(job),
        }
    }
}

/// Whole numbers from -3 to 3 without a pattern.
fn numbers(count: usize, seed: usize) -> Vec<f32> {
    let number = |index: usize| (index.wrapping_mul(2_654_435_761).wrapping_add(seed * 40_503) >> 7) % 7;
    (0..count).map(|index| number(index) as f32 - 3.0).collect()
}

/// `a [m, n] b^T`, with `b [r, n]`.
fn product(a: &[f32], b: &[f32], [m, n, r]: [usize; 3]) -> Vec<f32> {
    let dot = |row: usize, other: usize| (0..n).map(|at| a[row * n + at] * b[other * n + at]).sum();
    (0..m * r).map(|at| dot(at / r, at % r)).collect()
}

/// Rows for columns, of `a [m, n]`.
fn turned(a: &[f32], [m, n]: [usize; 2]) -> Vec<f32> {
    (0..m * n).map(|at| a[at % m * n + at / m]).collect()
}

fn rows<T>(y: &mut [T], n: usize) -> Vec<&mut [T]> {
    y.chunks_mut(n).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn rows_against_rows_are_summed_exactly(m in 1usize..15, n in 1usize..2300, r in 1usize..14, seed in 0usize..99) {
        let (x, a) = (numbers(m * n, seed), numbers(r * n, seed + 1));
        let narrow: Vec<bf16> = x.iter().map(|x| bf16::from_f32(*x)).collect();
        let expected: Vec<f32> = product(&x, &a, [m, n, r]).iter().map(|sum| sum * 0.5).collect();
        for set in Set::available() {
            let mut low = vec![f32::NAN; m * r];
            set.run(Dots { x: &x[..], a: &a, n, r, columns: 0..n, scale: 0.5, low: &mut low });
            prop_assert_eq!(&low, &expected, "{:?}", set);
            low.fill(f32::NAN);
            set.run(Dots { x: &narrow[..], a: &a, n, r, columns: 0..n, scale: 0.5, low: &mut low });
            prop_assert_eq!(&low, &expected, "{:?}, bf16", set);
        }
    }

    #[test]
    fn few_rows_and_short_ones_are_multiplied_exactly_in_both_directions(
        m in 1usize..5, n in 1usize..300, r in 1usize..90, seed in 0usize..99,
    ) {
        let (x, b, low) = (numbers(m * n, seed), numbers(n * r, seed + 1), numbers(m * r, seed + 2));
        let narrow: Vec<bf16> = x.iter().map(|x| bf16::from_f32(*x)).collect();
        let (x_rows, narrow_rows): (Vec<&[f32]>, Vec<&[bf16]>) = (x.chunks(n).collect(), narrow.chunks(n).collect());
        let half = |sums: Vec<f32>| sums.into_iter().map(|sum| sum * 0.5).collect::<Vec<f32>>();
        let expected = half(product(&x, &turned(&b, [n, r]), [m, n, r]));
        let of_b = half(product(&turned(&x, [m, n]), &turned(&low, [m, r]), [n, m, r]));
        for set in Set::available() {
            let mut found = [vec![f32::NAN; m * r], vec![f32::NAN; m * r]];
            set.run(Narrow { x: &x_rows, b: &b, r, scale: 0.5, low: &mut found[0] });
            set.run(Narrow { x: &narrow_rows, b: &b, r, scale: 0.5, low: &mut found[1] });
            prop_assert_eq!(found, [expected.clone(), expected.clone()], "{:?}", set);
            let mut found = [vec![f32::NAN; n * r], vec![f32::NAN; n * r]];
            set.run(Outer { x: &x_rows, low: &low, r, scale: 0.5, grad: &mut found[0] });
            set.run(Outer { x: &narrow_rows, low: &low, r, scale: 0.5, grad: &mut found[1] });
            prop_assert_eq!(found, [of_b.clone(), of_b.clone()], "{:?}", set);
        }
    }

    #[test]
    fn every_row_becomes_a_column(
        n in 1usize..50, r in 1usize..40, first in 0usize..9, last in 0usize..9, seed in 0usize..99,
    ) {
        // A part of a matrix with columns before and behind it.
        let stride = first + r + last;
        let matrix = numbers(n * stride, seed);
        let part: Vec<f32> = matrix.chunks(stride).flat_map(|row| &row[first..first + r]).copied().collect();
        let elements = &matrix[first..][..(n - 1) * stride + r];
        for set in Set::available() {
            let mut found = vec![f32::NAN; n * r];
            set.run(Turn { matrix: elements, stride, turned: &mut rows(&mut found, n) });
            prop_assert_eq!(&found, &turned(&part, [n, r]), "{:?}", set);
        }
    }

    #[test]
    fn few_rows_of_a_dense_weight_are_exact(m in 1usize..4, n in 1usize..300, o in 1usize..9, seed in 0usize..99, biased: bool) {
        let (x, w, bias) = (numbers(m * n, seed), numbers(o * n, seed + 1), numbers(o, seed + 2));
        let expected: Vec<f32> = product(&x, &w, [m, n, o])
            .into_iter()
            .enumerate()
            .map(|(at, sum)| sum + if biased { bias[at % o] } else { 0.0 })
            .collect();
        let narrow = |from: &[f32]| from.iter().map(|x| bf16::from_f32(*x)).collect::<Vec<_>>();
        let (narrow_w, narrow_bias) = (narrow(&w), narrow(&bias));
        for set in Set::available() {
            let mut wide = vec![f32::NAN; m * o];
            let bias = biased.then_some(&bias[..]);
            set.run(Dense { x: &x, n, w: &w[..], bias, y: &mut rows(&mut wide, o) });
            prop_assert_eq!(&wide, &expected, "{:?}", set);
            let mut rounded = vec![bf16::NAN; m * o];
            let bias = biased.then_some(&narrow_bias[..]);
            set.run(Dense { x: &x, n, w: &narrow_w[..], bias, y: &mut rows(&mut rounded, o) });
            prop_assert_eq!(&rounded, &narrow(&expected), "{:?}", set);
        }
    }

    #[test]
    fn sums_are_exact_from_either_side_of_every_operand_and_rounded_twice(
        m in prop_oneof![1usize..7, 60usize..140], k in prop_oneof![0usize..20, 60usize..140, Just(0), Just(16), Just(32)],
        n in prop_oneof![1usize..40, 240usize..256], seed in 0usize..99, biased: bool,
    ) {
        let (left, right_turned) = (numbers(m * k, seed), numbers(n * k, seed + 1));
        let (left_turned, right) = (turned(&left, [m, k]), turned(&right_turned, [n, k]));
        let (bias, base) = (numbers(n, seed + 2), numbers(m * n, seed + 3));
        let narrow: Vec<bf16> = right.iter().map(|x| bf16::from_f32(*x)).collect();
        let product = product(&left, &right_turned, [m, k, n]);
        let update: Vec<f32> =
            product.iter().enumerate().map(|(at, sum)| 0.5 * (sum + if biased { bias[at % n] } else { 0.0 })).collect();
        let rounded = |at: usize| bf16::from_f32(base[at] + bf16::from_f32(update[at]).to_f32());
        let lefts = [
            View { elements: &left[..], strides: [k, 1] },
            View { elements: &left_turned[..], strides: [1, m] },
        ];
        let rights = [
            Matrix::F32(View { elements: &right[..], strides: [n, 1] }),
            Matrix::F32(View { elements: &right_turned[..], strides: [1, k] }),
            Matrix::Bf16(View { elements: &narrow[..], strides: [n, 1] }),
        ];
        let bases: Vec<bf16> = base.iter().map(|x| bf16::from_f32(*x)).collect();
        let mut workspace = Workspace::take();
        for set in Set::available() {
            for (left, right) in lefts.into_iter().flat_map(|left| rights.map(|right| (left, right))) {
                let bias = biased.then_some(&bias[..]);
                let mut wide = vec![f32::NAN; m * n];
                set.run(Sums {
                    left, right, depth: k, place: [0, 0], columns: n, scale: 0.5, bias,
                    y: &mut rows(&mut wide, n), base: Base::None, workspace: &mut workspace,
                });
                prop_assert_eq!(&wide, &update, "{:?}", set);
                for (mut sum, base) in [
                    (vec![bf16::NAN; m * n], Base::Rows(bases.chunks(n).collect())),
                    (bases.clone(), Base::Result),
                ] {
                    set.run(Sums {
                        left, right, depth: k, place: [0, 0], columns: n, scale: 0.5, bias,
                        y: &mut rows(&mut sum, n), base, workspace: &mut workspace,
                    });
                    for (at, sum) in sum.iter().enumerate() {
                        prop_assert_eq!(*sum, rounded(at), "{:?}", set);
                    }
                }
            }
        }
    }
}

#[test]
fn bf16_is_rounded_to_the_nearest_and_no_number_stays_none() {
    for bits in (0..=u32::MAX).step_by(9_973) {
        let (x, found) = (f32::from_bits(bits), <bf16 as Element>::rounded(f32::from_bits(bits)));
        assert!(found == bf16::from_f32(x) || (found.is_nan() && x.is_nan()), "{x}");
    }
}
