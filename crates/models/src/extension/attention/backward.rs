//! The gradients of one query head: weights are made again, tile by tile.
//!
//! With weights `p`, `y = p v` and the gradient `g` of `y`: the gradient of a weight is `g v^T`, that of a score
//! `p (g v^T - g y)`, of a value `p^T g`, and of query and key the score's times the other one.

#[allow(clippy::wildcard_imports, reason = "many intrinsics, all from one place")]
use std::arch::x86_64::*;

use super::call::{Call, Head, KEYS, QUERIES, Rows, panel, size};
use super::element::Element;
use super::forward::narrow;
use super::gemm::{Sum, multiply};
use super::pack::copied;
use super::scores::{Scoring, Seen};
use super::vector::{LANES, exp2, gather, load, store};
use std::array;
use std::ops::Range;

/// Of a block of queries, all that its tiles need.
struct Block<T> {
    queries: Range<usize>,
    /// `[QUERIES, width]`, and turned to `[width, QUERIES]`.
    query: Vec<T>,
    query_turned: Vec<T>,
    grad: Vec<T>,
    grad_turned: Vec<T>,
    /// Of each query, the logarithm of its sum of weights, and the product of its result and the result's gradient.
    log: [f32; QUERIES],
    product: [f32; QUERIES],
    /// The gradient of the queries, but for the scale.
    sums: Vec<f32>,
}

/// Memory for a tile.
struct Tile<T> {
    products: Vec<f32>,
    grads: Vec<f32>,
    /// Right sides.
    weights_paired: Vec<T>,
    scores_paired: Vec<T>,
    scores: Vec<T>,
}

/// The query head with number `task` among those of the key heads from `first` on.
///
/// # Safety
/// Operands, panels, sums and the gradient of queries are there, of this dtype, and no other task has this number.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
pub(super) unsafe fn backward<T: Element>(call: &Call, task: usize) {
    let (width, group) = (call.width(), call.group());
    let (pair, member) = (task / group, task % group);
    let key_head = call.key_head(size(call.first) + pair);
    let of = Head { head: key_head.head * group + member, ..key_head };
    // SAFETY: all blocks are there.
    let mut blocks: Vec<_> =
        (0..call.query_blocks()).map(|block| unsafe { Block::new(call, of, block) }).collect();
    let mut tile = Tile {
        products: vec![0.0; QUERIES * KEYS],
        grads: vec![0.0; QUERIES * KEYS],
        weights_paired: vec![T::ZERO; QUERIES * KEYS],
        scores_paired: vec![T::ZERO; QUERIES * KEYS],
        scores: vec![T::ZERO; QUERIES * KEYS],
    };
    for keys in 0..call.key_blocks() {
        let range = call.panel(key_head, keys);
        // SAFETY: the panels were packed before, and these sums are this task's alone.
        let (panels, [key_sums, value_sums]) = unsafe {
            let panels = [call.keys_turned, call.values_turned, call.keys_paired];
            (panels.map(|panels| panel::<T>(panels, range.clone())), call.sums(pair, member, keys))
        };
        let [Some(keys_turned), Some(values_turned), Some(keys_paired)] = panels else { return };
        let mut sum = Sum::New;
        for (number, block) in blocks.iter_mut().enumerate() {
            if call.seen_blocks(number) <= keys {
                continue;
            }
            multiply(Sum::New, [QUERIES, KEYS, width], &block.query, keys_turned, &mut tile.products);
            multiply(Sum::New, [QUERIES, KEYS, width], &block.grad, values_turned, &mut tile.grads);
            // SAFETY: text and blocks are there.
            unsafe { tile.differentiate(call, of, block, keys) };
            multiply(sum, [width, KEYS, QUERIES], &block.grad_turned, &tile.weights_paired, value_sums);
            multiply(sum, [width, KEYS, QUERIES], &block.query_turned, &tile.scores_paired, key_sums);
            let first = if keys == 0 { Sum::New } else { Sum::Added };
            multiply(first, [QUERIES, width, KEYS], &tile.scores, keys_paired, &mut block.sums);
            sum = Sum::Added;
        }
    }
    for block in blocks {
        for (query, sums) in block.queries.zip(block.sums.chunks_exact(width)) {
            // SAFETY: this row is this task's alone.
            narrow::<T>(sums, call.scale, unsafe { call.grad_query.row_mut(of, query, width) });
        }
    }
}

impl<T: Element> Block<T> {
    /// # Safety
    /// The block is there.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
    unsafe fn new(call: &Call, of: Head, block: usize) -> Self {
        let (width, queries) = (call.width(), call.block_queries(block));
        let zeros = || vec![T::ZERO; QUERIES * width];
        let [mut query, mut query_turned, mut grad, mut grad_turned] = array::from_fn(|_| zeros());
        let mut pairs = zeros();
        for (source, rows, turned_rows) in
            [(&call.query, &mut query, &mut query_turned), (&call.grad_out, &mut grad, &mut grad_turned)]
        {
            // SAFETY: the block's rows are there.
            copied(queries.clone().map(|query| unsafe { source.row(of, query, width) }), width, rows);
            // SAFETY: the CPU has the instructions.
            unsafe {
                T::turned(rows, width, &mut pairs);
                T::parted(&pairs, QUERIES, turned_rows);
            }
        }
        // Queries behind the last one have no weights, whatever they score.
        let (mut log, mut product) = ([f32::INFINITY; QUERIES], [0.0; QUERIES]);
        for ((query, product), grad) in queries.clone().zip(&mut product).zip(grad.chunks_exact(width)) {
            // SAFETY: the row is there.
            *product = dot(grad, unsafe { call.out.row(of, query, width) });
        }
        // SAFETY: the block's logarithms are there.
        log[..queries.len()].copy_from_slice(unsafe { call.logs(of, queries.clone()) });
        Self {
            queries,
            query,
            query_turned,
            grad,
            grad_turned,
            log,
            product,
            sums: vec![0.0; QUERIES * width],
        }
    }
}

impl<T: Element> Tile<T> {
    /// From products and the gradients of weights to weights and the gradients of scores, two queries at a time.
    ///
    /// # Safety
    /// Text and blocks are there.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
    unsafe fn differentiate(&mut self, call: &Call, of: Head, block: &Block<T>, keys: usize) {
        let scoring = Scoring::new(call);
        // SAFETY: as promised by the caller.
        let seen = unsafe { Seen::<T>::of(call, of, block.queries.clone(), keys) };
        let rows = self.products.as_chunks::<{ 2 * KEYS }>().0.iter();
        let rows = rows.zip(self.grads.as_chunks::<{ 2 * KEYS }>().0);
        let rows = rows.zip(self.weights_paired.as_chunks_mut::<{ 2 * KEYS }>().0);
        let rows = rows.zip(self.scores_paired.as_chunks_mut::<{ 2 * KEYS }>().0);
        let rows = rows.zip(self.scores.as_chunks_mut::<{ 2 * KEYS }>().0);
        for (index, ((((products, grads), weights), paired), scores)) in rows.enumerate() {
            let [products, grads] = [products, grads]
                .map(|rows| [&rows[..KEYS], &rows[KEYS..]].map(|row| row.as_chunks::<LANES>().0));
            let (first, second) = scores.split_at_mut(KEYS);
            let to = [first, second].map(|row| row.as_chunks_mut().0);
            let rows = [2 * index, 2 * index + 1];
            let seen = rows.map(&seen);
            let of_vector = |v: usize| {
                let (mut weights, mut scores) = ([_mm512_setzero_ps(); 2], [_mm512_setzero_ps(); 2]);
                for row in 0..2 {
                    let [score, slope] = scoring.scores(load(&products[row][v]));
                    let score = seen[row].mask(score, v * LANES);
                    let log = _mm512_set1_ps(block.log[rows[row]]);
                    let product = _mm512_set1_ps(block.product[rows[row]]);
                    weights[row] = exp2(_mm512_sub_ps(score, log));
                    let grad = _mm512_mul_ps(weights[row], _mm512_sub_ps(load(&grads[row][v]), product));
                    scores[row] = _mm512_mul_ps(grad, slope);
                }
                (weights, scores)
            };
            let [first_to, second_to] = to;
            for (at, (first_to, second_to)) in first_to.iter_mut().zip(second_to).enumerate() {
                let (first, next) = (of_vector(2 * at), of_vector(2 * at + 1));
                // SAFETY: the function has the instructions.
                unsafe {
                    T::store_rows(first.0, 2 * at, weights);
                    T::store_rows(next.0, 2 * at + 1, weights);
                    T::store_rows(first.1, 2 * at, paired);
                    T::store_rows(next.1, 2 * at + 1, paired);
                    T::store([first.1[0], next.1[0]], first_to);
                    T::store([first.1[1], next.1[1]], second_to);
                }
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
#[inline]
fn dot<T: Element>(left: &[T], right: &[T]) -> f32 {
    let mut sum = _mm512_setzero_ps();
    for (left, right) in left.chunks(LANES).zip(right.chunks(LANES)) {
        // SAFETY: the function has the instructions.
        let (left, right) = unsafe { (T::widened(left), T::widened(right)) };
        sum = _mm512_fmadd_ps(left, right, sum);
    }
    _mm512_reduce_add_ps(sum)
}

/// Adds the sums of all query heads of a key head, in their order, for the block with number `task`, and turns them back.
///
/// # Safety
/// Sums and gradients are there, of this dtype, and no other task has this number.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
pub(super) unsafe fn add_heads<T: Element>(call: &Call, task: usize) {
    let (width, blocks) = (call.width(), call.key_blocks());
    let (pair, block) = (task / blocks, task % blocks);
    let of = call.key_head(size(call.first) + pair);
    // SAFETY: these sums are this task's alone, now.
    let [key_sums, value_sums] = unsafe { call.sums(pair, 0, block) };
    for member in 1..call.group() {
        // SAFETY: as above.
        let [keys, values] = unsafe { call.sums(pair, member, block) };
        add(keys, key_sums);
        add(values, value_sums);
    }
    let mut row = vec![0.0; width];
    let mut put = |sums: &[f32], scale: f32, to: &Rows| {
        for (index, key) in call.block_keys(block).enumerate() {
            for (chunk, to) in row.as_chunks_mut().0.iter_mut().enumerate() {
                store(gather(sums, chunk * LANES * KEYS + index, KEYS), to);
            }
            // SAFETY: this row is this task's alone.
            narrow::<T>(&row, scale, unsafe { to.row_mut(of, key, width) });
        }
    };
    put(key_sums, call.scale, &call.grad_key);
    put(value_sums, 1.0, &call.grad_value);
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
#[inline]
fn add(from: &[f32], to: &mut [f32]) {
    for (from, to) in from.as_chunks().0.iter().zip(to.as_chunks_mut().0) {
        store(_mm512_add_ps(load(from), load(to)), to);
    }
}
