//! A block of queries of one head, over all keys that they see: weights are made block by block of keys, from scores less the
//! greatest so far, and what was summed before is scaled when that grows.

#[allow(clippy::wildcard_imports, reason = "many intrinsics, all from one place")]
use std::arch::x86_64::*;

use super::call::{Call, Head, KEYS, QUERIES, panel, size};
use super::element::Element;
use super::gemm::{Sum, multiply};
use super::pack::copied;
use super::scores::{Scoring, Seen};
use super::vector::{LANES, exp2, load, store};

/// Vectors of a row of a tile.
const VECTORS: usize = KEYS / LANES;

/// What is known of a query so far.
#[derive(Debug, Clone, Copy)]
struct Found {
    /// Its greatest score.
    most: f32,
    /// The sum of its weights.
    total: f32,
}

/// The block of queries with number `task`.
///
/// # Safety
/// Queries, panels, results and logarithms are there, of this dtype, and no other task has this number.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
pub(super) unsafe fn forward<T: Element>(call: &Call, task: usize) {
    let (width, blocks) = (call.width(), call.query_blocks());
    let (head, block) = (task / blocks, task % blocks);
    let of = Head { text: head / size(call.heads), head: head % size(call.heads) };
    let queries = call.block_queries(block);
    let mut left = vec![T::ZERO; QUERIES * width];
    // SAFETY: the block's queries are there.
    copied(queries.clone().map(|query| unsafe { call.query.row(of, query, width) }), width, &mut left);
    let mut products = vec![0.0; QUERIES * KEYS];
    let mut weights = vec![T::ZERO; QUERIES * KEYS];
    let mut sums = vec![0.0; QUERIES * width];
    let mut found = [Found { most: f32::NEG_INFINITY, total: 0.0 }; QUERIES];
    let scoring = Scoring::new(call);
    for keys in 0..call.seen_blocks(block) {
        let range = call.panel(call.keys_of(of), keys);
        // SAFETY: the panels were packed before.
        let (keys_turned, values_paired) =
            unsafe { (panel::<T>(call.keys_turned, range.clone()), panel::<T>(call.values_paired, range)) };
        let (Some(keys_turned), Some(values_paired)) = (keys_turned, values_paired) else { return };
        multiply(Sum::New, [QUERIES, KEYS, width], &left, keys_turned, &mut products);
        // SAFETY: text and blocks are there.
        let seen = unsafe { Seen::<T>::of(call, of, queries.clone(), keys) };
        let rows = products.as_chunks::<KEYS>().0.iter().zip(weights.as_chunks_mut::<KEYS>().0);
        for ((row, (products, weights)), sums) in rows.enumerate().zip(sums.chunks_exact_mut(width)) {
            let before = weigh(scoring, seen(row), products, weights, &mut found[row]);
            if keys > 0 {
                scale(sums, before);
            }
        }
        let sum = if keys == 0 { Sum::New } else { Sum::Added };
        multiply(sum, [QUERIES, width, KEYS], &weights, values_paired, &mut sums);
    }
    // SAFETY: these are this task's alone.
    let logs = unsafe { call.logs_mut(of, queries.clone()) };
    for (((query, sums), found), log) in queries.zip(sums.chunks_exact(width)).zip(found).zip(logs) {
        // Nothing seen yields nothing.
        let share = if found.total == 0.0 { 0.0 } else { found.total.recip() };
        *log = if found.total == 0.0 { f32::INFINITY } else { found.most + found.total.log2() };
        // SAFETY: this row is this task's alone.
        narrow::<T>(sums, share, unsafe { call.out.row_mut(of, query, width) });
    }
}

/// The weights of a row; returns what those before are to be multiplied by.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
#[inline]
fn weigh<T: Element>(
    scoring: Scoring,
    seen: Seen<'_, T>,
    products: &[f32; KEYS],
    weights: &mut [T; KEYS],
    found: &mut Found,
) -> f32 {
    let mut scores = [_mm512_setzero_ps(); VECTORS];
    let mut most = _mm512_set1_ps(found.most);
    for (v, (scores, products)) in scores.iter_mut().zip(products.as_chunks::<LANES>().0).enumerate() {
        *scores = seen.mask(scoring.scores(load(products))[0], v * LANES);
        most = _mm512_max_ps(most, *scores);
    }
    let most = _mm512_reduce_max_ps(most);
    // Before anything is seen, every difference from it is minus infinity.
    let base = if most == f32::NEG_INFINITY { 0.0 } else { most };
    let mut total = _mm512_setzero_ps();
    let pairs = scores.as_chunks::<2>().0.iter().zip(weights.as_chunks_mut().0);
    for (scores, weights) in pairs {
        let made = [
            exp2(_mm512_sub_ps(scores[0], _mm512_set1_ps(base))),
            exp2(_mm512_sub_ps(scores[1], _mm512_set1_ps(base))),
        ];
        total = _mm512_add_ps(total, _mm512_add_ps(made[0], made[1]));
        // SAFETY: the function has the instructions.
        unsafe { T::store(made, weights) };
    }
    let before = _mm512_cvtss_f32(exp2(_mm512_set1_ps(found.most - base)));
    *found = Found { most, total: found.total.mul_add(before, _mm512_reduce_add_ps(total)) };
    before
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
#[inline]
#[expect(clippy::float_cmp, reason = "most rows are not scaled at all")]
fn scale(sums: &mut [f32], by: f32) {
    if by == 1.0 {
        return;
    }
    for sums in sums.as_chunks_mut().0 {
        store(_mm512_mul_ps(load(sums), _mm512_set1_ps(by)), sums);
    }
}

/// Multiplies and rounds a row whose width is a multiple of 32.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
#[inline]
pub(super) fn narrow<T: Element>(row: &[f32], scale: f32, to: &mut [T]) {
    let by = _mm512_set1_ps(scale);
    for ([first, second], to) in row.as_chunks().0.as_chunks::<2>().0.iter().zip(to.as_chunks_mut().0) {
        // SAFETY: the function has the instructions.
        unsafe { T::store([_mm512_mul_ps(load(first), by), _mm512_mul_ps(load(second), by)], to) };
    }
}
