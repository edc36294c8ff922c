//! Few rows of `left` against rows of `right` that lie one behind the other: a product that is as long as reading `right`
//! takes, so nothing of it is copied or turned.

use super::simd::Simd;

/// The most rows for which this is the faster way.
pub(super) const MOST_ROWS: usize = 4;

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
