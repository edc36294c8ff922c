//! A block of `C` of f32 or f16 by AMX, whose terms are bf16: numbers are sums of two or three of these, and weights that were
//! rounded to f16 are sums of two.
//!
//! `x = x1 + x2 + x3` and `w = w1 + w2`, each term some eight bits below the one before. Products of two terms are exact in f32.
//! The sums of `x1 w1` and those of the other, smaller products are kept apart until the end, so that no more is rounded than in
//! a sum of f32 products. What is left out, `x3 w2`, is `2^-24` of a product of f32 at most,
//! as one rounding is, and zero for f16.

use std::sync::atomic::{AtomicBool, Ordering};

use super::panels::Fill;
use super::workspace::Workspace;
use super::{Block, STEPS, UNPACKED, tiled};
use crate::kernel::element::Element;
use crate::kernel::panel::PANEL;
use crate::kernel::simd::{Aligned, Arithmetic, Begin, PairTerms, Simd, Single, TERM_STEPS, TILE};

/// Rows and columns of a block, those to prefer first.
const SIZES: [[usize; 2]; 3] = [[256, 512], [256, 256], [256, 128]];

/// The largest number of a row, if it is not zero, lies between these: its terms are normal numbers, and finite, as are sums of
/// their products.
const LEAST: f32 = 1e-30;
const MOST: f32 = 1e30;

/// Rows and columns of a block of a matrix; no sum depends on them.
pub(super) fn size(elements: usize, columns: usize, threads: usize) -> [usize; 2] {
    tiled::preferred(&SIZES, elements, columns, threads)
}

/// The block's sums, in `workspace.c`; nothing of use where a row of `A` is `extraordinary`: small, large, or no number.
#[inline(always)]
pub(super) fn multiply<T: Element, S: Simd>(
    block: Block<'_>,
    a: &[T],
    simd: S,
    workspace: &mut Workspace,
    extraordinary: &AtomicBool,
) {
    let Block { weight, row, rows, columns, .. } = block;
    let (depth, height) = (weight.depth(), block.height());
    let Workspace { tiles: left, panels, c, small, terms: right, tables, .. } = workspace;
    Workspace::grow(left, height * STEPS / (2 * TILE) * T::BF16_TERMS, Aligned([0.0; TILE]));
    Workspace::grow(right, 2 * TERM_STEPS, Aligned([0.0; PANEL]));
    let sums = columns.div_ceil(UNPACKED) * height;
    Workspace::grow(c, sums, Aligned([0.0; UNPACKED]));
    Workspace::grow(small, sums, Aligned([0.0; UNPACKED]));
    let amx = simd.pairs().and_then(|pairs| Some((pairs, pairs.amx()?)));
    let Some((pairs, amx)) = amx else { return extraordinary.store(true, Ordering::Relaxed) };
    let amx = amx.set_up(TILE);
    for first in (0..depth).step_by(STEPS) {
        let count = STEPS.min(depth - first);
        let tiles = count.div_ceil(2 * TILE);
        for index in 0..rows {
            let start = (row + index) * depth + first;
            tiled::fetch(simd, a, start + tiled::AHEAD * depth, count);
            let from = &a[start..][..count];
            let largest = T::largest(from);
            if largest != 0.0 && !(LEAST..MOST).contains(&largest) {
                return extraordinary.store(true, Ordering::Relaxed);
            }
            let of_rows = tiles * T::BF16_TERMS * TILE;
            pairs.pack_terms(from, &mut left[index / TILE * of_rows + index % TILE..]);
        }
        let begin = if first == 0 { Begin::Zero } else { Begin::Sums };
        for (strip, column) in (0..columns).step_by(UNPACKED).enumerate() {
            Single(simd).vectorize(Fill { block, first, count, column, tables, panels });
            let panels = panels.chunks_exact_mut(STEPS).take((columns - column).div_ceil(PANEL));
            let place = strip * height..(strip + 1) * height;
            for (index, panel) in panels.enumerate() {
                panel[count..tiles * 2 * TILE].fill(Aligned([0.0; PANEL]));
                pairs.pair_terms(&panel[..tiles * 2 * TILE], right);
                let left = &left[..height * tiles * T::BF16_TERMS];
                let sums = [&mut c[place.clone()], &mut small[place.clone()]];
                amx.add_terms(begin, left, right, tiles, sums, index * PANEL);
            }
        }
    }
    for (sums, small) in c[..sums].iter_mut().zip(small.iter()) {
        for at in (0..UNPACKED).step_by(S::LANES) {
            simd.store(simd.add(simd.load(&sums.0[at..]), simd.load(&small.0[at..])), &mut sums.0[at..]);
        }
    }
}
