//! `y [M, O] = x [M, I] * W [I, O]` for small `M`: a task sums some columns over a part of the weight rows; then the
//! parts are added, in order.
//!
//! A task goes along the rows, strip by strip, so that memory is read in pieces of pages and not of cache lines.

use std::ops::Range;

use super::block::{BLOCK, Block, block_end};
use super::workspace::Workspace;
use crate::kernel::element::Element;
use crate::kernel::isa::Isa;
use crate::kernel::output::Tiles;
use crate::kernel::packed::{Packed, STRIP_COLUMNS};
use crate::kernel::parallel::ParallelFor;
use crate::kernel::simd::{Operation, Simd, dispatch};

/// The most parts that the weight's rows are cut into: so many times `y`, in f32, is held meanwhile.
const PARTS: usize = 8;

/// Columns of a task.
const COLUMNS: usize = 8 * STRIP_COLUMNS;

/// Right for any `M`, `I` and `O` above zero, if `M` is small.
pub(crate) fn forward<T: Element>(
    x: &[T],
    packed: &Packed<'_>,
    bias: Option<&[f32]>,
    y: &mut [T],
    pool: &dyn ParallelFor,
    isa: Isa,
) {
    let columns = packed.out_features();
    let rows = y.len() / columns;
    let depth = BLOCK * packed.in_features().div_ceil(BLOCK * PARTS);
    let mut parts = vec![0.0; packed.in_features().div_ceil(depth) * y.len()];
    let tiles = Tiles::new(&mut parts, columns, rows, COLUMNS);
    pool.run(tiles.len(), &|task| {
        let (part, across) = tiles.position(task);
        let weight_rows = part * depth..packed.in_features().min((part + 1) * depth);
        dispatch(isa, Part { x, packed, weight_rows, column: across * COLUMNS, sums: tiles.take(task) });
    });
    drop(tiles);
    let tiles = Tiles::new(y, columns, rows, COLUMNS);
    pool.run(tiles.len(), &|task| {
        let column = tiles.position(task).1 * COLUMNS;
        dispatch(isa, Add { parts: &parts, columns, bias, column, y: tiles.take(task) });
    });
}

/// Columns `column` and on of `y`: the sum of the parts `[part, M, O]` and the bias.
struct Add<'a, T> {
    parts: &'a [f32],
    columns: usize,
    bias: Option<&'a [f32]>,
    column: usize,
    y: Vec<&'a mut [T]>,
}

impl<T: Element> Operation for Add<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let rows = self.y.len();
        for (row, y) in self.y.into_iter().enumerate() {
            let mut sums = [0.0; COLUMNS];
            let bias = self.bias.map(|bias| &bias[self.column..]);
            let parts = self.parts.chunks_exact(self.columns).skip(row).step_by(rows);
            for part in parts.map(|part| &part[self.column..]).chain(bias) {
                for (sum, part) in sums.iter_mut().zip(part) {
                    *sum += part;
                }
            }
            T::narrow(simd, &sums[..y.len()], y);
        }
    }
}

/// `sums = x [M, weight_rows] * W [weight_rows, column ..+ COLUMNS]`.
struct Part<'a, T> {
    x: &'a [T],
    packed: &'a Packed<'a>,
    weight_rows: Range<usize>,
    column: usize,
    sums: Vec<&'a mut [f32]>,
}

impl<T: Element> Operation for Part<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let in_features = self.packed.in_features();
        let width = self.sums.first().map_or(0, |sums| sums.len());
        let mut workspace = Workspace::take();
        for (x, sums) in self.x.chunks(S::FEW_ROWS * in_features).zip(self.sums.chunks_mut(S::FEW_ROWS)) {
            let rows = sums.len();
            let mut first = self.weight_rows.start;
            while first < self.weight_rows.end {
                let block = first..block_end(self.packed, first).min(self.weight_rows.end);
                first = block.end;
                for (x, to) in x.chunks_exact(in_features).zip(&mut workspace.left) {
                    T::widen(simd, &x[block.clone()], &mut to.0[..block.len()]);
                }
                for column in (0..width).step_by(STRIP_COLUMNS) {
                    let strip = self.packed.strip((self.column + column) / STRIP_COLUMNS);
                    let (block, workspace) = (block.clone(), &mut *workspace);
                    workspace.clear(rows);
                    simd.vectorize(Block { packed: self.packed, strip, weight_rows: block, rows, workspace });
                    for (from, to) in workspace.sums.iter().zip(&mut *sums) {
                        for (to, from) in to[column..].iter_mut().zip(&from.0[..strip.columns()]) {
                            *to += from;
                        }
                    }
                }
            }
        }
        workspace.put_back();
    }
}
