//! Blocks of rows as sides of products, padded with zeros.
//!
//! Rows of keys are `paired` where a product sums over keys, and `turned` where it sums over the width.

use super::call::{Call, KEYS, Rows, panel_mut};
use super::element::{CHUNK, Element};
use super::vector::{LANES, gather, gather_pairs, pair, part, store};
use half::bf16;

/// Copies rows one behind the other, and as many zeros as fill `to`.
pub(super) fn copied<'a, T: Element>(rows: impl Iterator<Item = &'a [T]>, width: usize, to: &mut [T]) {
    let mut all = to.chunks_exact_mut(width);
    for (row, to) in rows.zip(all.by_ref()) {
        to.copy_from_slice(row);
    }
    all.for_each(|to| to.fill(T::ZERO));
}

/// `[rows, width]` to `[rows / 2, width, 2]`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
pub(super) fn side_by_side(rows: &[bf16], width: usize, to: &mut [bf16]) {
    for (rows, to) in rows.chunks_exact(2 * width).zip(to.chunks_exact_mut(2 * width)) {
        let (first, second) = rows.split_at(width);
        let (first, second) = (first.as_chunks::<CHUNK>().0, second.as_chunks::<CHUNK>().0);
        let to = to.as_chunks_mut::<CHUNK>().0.as_chunks_mut::<2>().0;
        for ((first, second), [lower, upper]) in first.iter().zip(second).zip(to) {
            pair([first, second], [lower, upper]);
        }
    }
}

/// `[rows, width]` to `[width / 2, rows, 2]`, for rows in multiples of sixteen.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
pub(super) fn turned_in_pairs(rows: &[bf16], width: usize, to: &mut [bf16]) {
    let pairs = width / 2;
    for (column, to) in to.chunks_exact_mut(2 * rows.len() / width).enumerate() {
        for (sixteen, to) in to.as_chunks_mut::<CHUNK>().0.iter_mut().enumerate() {
            gather_pairs(rows, sixteen * LANES * pairs + column, pairs, to);
        }
    }
}

/// `[width / 2, rows, 2]`, which is what `turned_in_pairs` makes, to `[width, rows]`: a left side. For rows in multiples of 32.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
pub(super) fn apart(turned: &[bf16], rows: usize, to: &mut [bf16]) {
    for (from, to) in turned.chunks_exact(2 * rows).zip(to.chunks_exact_mut(2 * rows)) {
        let (even, odd) = to.split_at_mut(rows);
        let from = from.as_chunks::<CHUNK>().0.as_chunks::<2>().0;
        let to = even.as_chunks_mut::<CHUNK>().0.iter_mut().zip(odd.as_chunks_mut::<CHUNK>().0);
        for ([first, second], (even, odd)) in from.iter().zip(to) {
            part([first, second], [even, odd]);
        }
    }
}

/// `[rows, width]` to `[width, rows]`, for rows in multiples of sixteen.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
pub(super) fn transposed(rows: &[f32], width: usize, to: &mut [f32]) {
    for (column, to) in to.chunks_exact_mut(rows.len() / width).enumerate() {
        for (sixteen, to) in to.as_chunks_mut().0.iter_mut().enumerate() {
            store(gather(rows, sixteen * LANES * width + column, width), to);
        }
    }
}

/// Packs the block of keys and values with number `task`.
///
/// # Safety
/// Keys, values and panels are there, of this dtype, and no other task has this number.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
pub(super) unsafe fn pack<T: Element>(call: &Call, task: usize) {
    let (width, blocks) = (call.width(), call.key_blocks());
    let (of, block) = (call.key_head(task / blocks), task % blocks);
    let mut rows = vec![T::ZERO; KEYS * width];
    let copy = |rows_of: &Rows, rows: &mut [T]| {
        let range = call.block_keys(block);
        // SAFETY: the block's rows are there.
        copied(range.map(|key| unsafe { rows_of.row(of, key, width) }), width, rows);
    };
    let range = call.panel(of, block);
    let [keys_turned, keys_paired, values_turned, values_paired] =
        [call.keys_turned, call.keys_paired, call.values_turned, call.values_paired]
            // SAFETY: a panel has a block for each of key head and block of keys.
            .map(|panels| unsafe { panel_mut(panels, range.clone()) });
    for (source, to_turn, to_pair) in
        [(&call.key, keys_turned, keys_paired), (&call.value, values_turned, values_paired)]
    {
        copy(source, &mut rows);
        if let Some(to) = to_turn {
            // SAFETY: the CPU has the instructions, and so below.
            unsafe { T::turned(&rows, width, to) };
        }
        if let Some(to) = to_pair {
            // SAFETY: see above.
            unsafe { T::paired(&rows, width, to) };
        }
    }
}
