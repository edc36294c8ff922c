//! A block of `C` by AMX, in tiles of sixteen rows and columns.
//!
//! AMX multiplies several times as fast as registers do, so that what surrounds it takes the time: blocks are larger, for each
//! weight is unpacked once for all rows of a block, and each activation is packed once for all of its columns.

use super::panels::Fill;
use super::workspace::Workspace;
use super::{Block, STEPS, UNPACKED};
use crate::kernel::panel::PANEL;
use crate::kernel::simd::{Aligned, Amx, Arithmetic, Begin, PackLeft, Simd, TILE};

/// Rows and columns of a block, those to prefer first.
const SIZES: [[usize; 2]; 4] = [[512, 512], [256, 512], [256, 256], [256, 128]];

/// Blocks that each thread should have, so that all end at about the same time.
const BLOCKS: usize = 4;

/// Rows of activations that are fetched while one is packed.
pub(super) const AHEAD: usize = 4;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Rows and columns of a block of a matrix; no sum depends on them.
pub(super) fn size(elements: usize, columns: usize, threads: usize) -> [usize; 2] {
    preferred(&SIZES, elements, columns, threads)
}

/// The first of some sizes which makes enough blocks, or the last one.
pub(super) fn preferred(sizes: &[[usize; 2]], elements: usize, columns: usize, threads: usize) -> [usize; 2] {
    let rows = elements / columns;
    let is_enough =
        |[height, width]: &[usize; 2]| rows.div_ceil(*height) * columns.div_ceil(*width) >= BLOCKS * threads;
    sizes.iter().copied().find(is_enough).unwrap_or(sizes[sizes.len() - 1])
}

/// The block's sums, in `workspace.c`.
#[inline(always)]
pub(super) fn multiply<L, A: Arithmetic + PackLeft<L>>(
    block: Block<'_>,
    a: &[L],
    arithmetic: A,
    amx: Amx,
    workspace: &mut Workspace,
) {
    let Block { weight, row, rows, columns, .. } = block;
    let (depth, height) = (weight.depth(), block.height());
    let Workspace { tiles: left, panels, c, tables, .. } = workspace;
    Workspace::grow(left, height * STEPS / TILE, Aligned([0.0; TILE]));
    Workspace::grow(c, columns.div_ceil(UNPACKED) * height, Aligned([0.0; UNPACKED]));
    let tile = TILE * A::TERMS;
    let amx = amx.set_up(TILE);
    for first in (0..depth).step_by(STEPS * A::TERMS) {
        let count = (STEPS * A::TERMS).min(depth - first);
        // Tiles along the depth; the last one is filled up with zeros on both sides.
        let tiles = count.div_ceil(tile);
        for index in 0..rows {
            let start = (row + index) * depth + first;
            fetch(arithmetic.simd(), a, start + AHEAD * depth, count);
            let from = &a[start..][..count];
            let to = left[index / TILE * tiles * TILE + index % TILE..].iter_mut().step_by(TILE);
            for (from, to) in from.chunks(tile).zip(to) {
                if from.len() < tile {
                    to.0.fill(0.0);
                }
                arithmetic.pack_left(from, &mut to.0);
            }
        }
        let begin = if first == 0 { Begin::Zero } else { Begin::Sums };
        for (strip, column) in (0..columns).step_by(UNPACKED).enumerate() {
            arithmetic.vectorize(Fill { block, first, count, column, tables, panels });
            let panels = panels.chunks_exact_mut(STEPS).take((columns - column).div_ceil(PANEL));
            for (index, panel) in panels.enumerate() {
                panel[count.div_ceil(A::TERMS)..tiles * TILE].fill(Aligned([0.0; PANEL]));
                let c = &mut c[strip * height..][..height];
                amx.add(begin, &left[..height * tiles], &panel[..tiles * TILE], c, index * PANEL);
            }
        }
    }
}

/// Asks for so many elements, which may lie beyond the end.
#[inline(always)]
pub(super) fn fetch<L, S: Simd>(simd: S, a: &[L], start: usize, count: usize) {
    for line in (0..count).step_by(LINE / size_of::<L>()) {
        simd.prefetch(a, start + line);
    }
}
