//! Few rows of `left`, or few terms: a product that is as long as reading `right` or writing the sums takes, so nothing is copied
//! or turned. Either the columns of `right` lie one behind the other (`sums`), or its rows do (`row`).

use super::element::Element;
use super::simd::Simd;
use super::view::View;

/// The most rows for which this is the faster way.
pub(super) const MOST_ROWS: usize = 4;

/// The most terms for which `row` is the faster way, however many rows there are.
pub(super) const MOST_TERMS: usize = 4;

/// Vectors of a row of sums that are made at a time.
const VECTORS: usize = 4;

/// How far ahead `right` is fetched, in elements: four kilobytes.
const AHEAD: usize = 1024;

/// Whether sums of so many terms fill vectors evenly.
#[inline(always)]
pub(super) fn takes<S: Simd>(terms: usize) -> bool {
    terms > 0 && (terms.is_multiple_of(S::LANES) || (terms.is_power_of_two() && terms < S::LANES))
}

/// `sums [n] = right [n, k] left [k]`, for `k` as [`takes`] wants it.
#[inline(always)]
pub(super) fn sums<S: Simd>(simd: S, left: &[f32], right: &[f32], sums: &mut [f32]) {
    match left.len().min(S::LANES) {
        1 => in_blocks::<S, 1>(simd, left, right, sums),
        2 => in_blocks::<S, 2>(simd, left, right, sums),
        4 => in_blocks::<S, 4>(simd, left, right, sums),
        8 => in_blocks::<S, 8>(simd, left, right, sums),
        _ => in_blocks::<S, 16>(simd, left, right, sums),
    }
}

/// `sums [n] = left [k] right [k, n]`, with row `at[0]` of `left` and columns `at[1] ..+ n` of `right`, whose rows are contiguous.
#[inline(always)]
pub(super) fn row<S: Simd, T: Element>(
    simd: S,
    left: View<'_, f32>,
    right: View<'_, T>,
    depth: usize,
    at: [usize; 2],
    sums: &mut [f32],
) {
    let columns = sums.len();
    let step = VECTORS * S::LANES;
    let left = |term: usize| left.elements[at[0] * left.strides[0] + term * left.strides[1]];
    let right = |term: usize| &right.elements[term * right.strides[0] + at[1]..][..columns];
    let whole = columns / step * step;
    for first in (0..whole).step_by(step) {
        let mut totals = [simd.splat(0.0); VECTORS];
        for term in 0..depth {
            let (left, right) = (simd.splat(left(term)), right(term));
            for (vector, total) in totals.iter_mut().enumerate() {
                // SAFETY: `first + step <= whole`, and the row has `columns` elements, which are no fewer.
                let right = unsafe { T::load_at(simd, right, first + vector * S::LANES) };
                *total = simd.mul_add(left, right, *total);
            }
        }
        for (total, sums) in totals.into_iter().zip(sums[first..].chunks_exact_mut(S::LANES)) {
            simd.store(total, sums);
        }
    }
    for (column, sum) in sums.iter_mut().enumerate().skip(whole) {
        *sum = (0..depth).map(|term| left(term) * right(term)[column].widened()).sum();
    }
}

/// A vector of sums at a time, out of `V` vectors.
#[inline(always)]
fn in_blocks<S: Simd, const V: usize>(simd: S, left: &[f32], right: &[f32], sums: &mut [f32]) {
    let terms = left.len();
    let mut repeated = [0.0; 16];
    for (to, from) in repeated.iter_mut().zip(left.iter().cycle()) {
        *to = *from;
    }
    let repeated = simd.load(&repeated);
    let mut blocks = sums.chunks_exact_mut(S::LANES);
    let mut rights = right.chunks_exact(S::LANES * terms);
    for (sums, right) in (&mut blocks).zip(&mut rights) {
        let mut totals = [simd.splat(0.0); V];
        if terms <= S::LANES {
            for (total, right) in totals.iter_mut().zip(right.chunks_exact(S::LANES)) {
                simd.prefetch(right, AHEAD);
                *total = simd.mul_add(repeated, simd.load(right), *total);
            }
        } else {
            // Row by row: memory is read fastest in its own order.
            for (total, right) in totals.iter_mut().zip(right.chunks_exact(terms)) {
                for (left, right) in left.chunks_exact(S::LANES).zip(right.chunks_exact(S::LANES)) {
                    simd.prefetch(right, AHEAD);
                    *total = simd.mul_add(simd.load(left), simd.load(right), *total);
                }
            }
        }
        // Neighbours are added until every lane is a sum.
        let mut count = V;
        while count > 1 {
            count /= 2;
            for at in 0..count {
                totals[at] = simd.add_neighbours(totals[2 * at], totals[2 * at + 1]);
            }
        }
        simd.store(totals[0], sums);
    }
    for (sum, right) in blocks.into_remainder().iter_mut().zip(rights.remainder().chunks_exact(terms)) {
        *sum = left.iter().zip(right).map(|(left, right)| left * right).sum();
    }
}
