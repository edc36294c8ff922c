//! `y [m, n] = base + round(scale * (left [m, k] right [k, n] + bias))`: one tile of `y`.

use super::element::Element;
use super::few;
use super::simd::{Job, Simd};
use super::view::{Matrix, View};
use std::cell::Cell;

/// Rows of a tile of `y`.
pub(super) const ROWS: usize = 256;
/// Rows of it whose sums are made at a time.
const AT_ONCE: usize = 64;
/// Columns of a tile of `y`.
pub(super) const COLUMNS: usize = 256;
/// Columns of it that are multiplied while they are in a first-level cache.
const BLOCK: usize = 64;
/// Terms that are summed at a time.
const DEPTH: usize = 64;

/// What a tile needs beside its operands: 144 KiB a thread, kept from task to task.
pub(super) struct Workspace {
    /// `[DEPTH, AT_ONCE]`.
    left: Vec<[f32; AT_ONCE]>,
    /// `[COLUMNS / BLOCK, DEPTH, BLOCK]`.
    right: Vec<[[f32; BLOCK]; DEPTH]>,
    /// `[AT_ONCE, COLUMNS]`.
    sums: Vec<[f32; COLUMNS]>,
}

thread_local! {
    static KEPT: Cell<Option<Workspace>> = const { Cell::new(None) };
}

impl Workspace {
    /// This thread's.
    pub(super) fn take() -> Self {
        KEPT.take().unwrap_or_else(|| Self {
            left: vec![[0.0; AT_ONCE]; DEPTH],
            right: vec![[[0.0; BLOCK]; DEPTH]; COLUMNS / BLOCK],
            sums: vec![[0.0; COLUMNS]; AT_ONCE],
        })
    }

    /// Keeps it for the thread's next task.
    pub(super) fn put_back(self) {
        KEPT.set(Some(self));
    }
}

/// What a tile is added to.
pub(super) enum Base<'a, T> {
    None,
    /// These rows.
    Rows(Vec<&'a [T]>),
    /// What `y` holds.
    Result,
}

/// One tile.
pub(super) struct Sums<'a, T> {
    /// `[m, k]`.
    pub(super) left: View<'a, f32>,
    /// `[k, n]`.
    pub(super) right: Matrix<'a>,
    pub(super) depth: usize,
    /// First row and column.
    pub(super) place: [usize; 2],
    pub(super) columns: usize,
    pub(super) scale: f32,
    /// Of these columns.
    pub(super) bias: Option<&'a [f32]>,
    /// The rows of the tile.
    pub(super) y: &'a mut [&'a mut [T]],
    pub(super) base: Base<'a, T>,
    pub(super) workspace: &'a mut Workspace,
}

impl<T: Element> Job for Sums<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let all = self.y.len();
        if let (Some(right), true) =
            (self.rows_of_right(), all <= few::MOST_ROWS && few::takes::<S>(self.depth))
        {
            for row in 0..all {
                let left = &self.left.elements[(self.place[0] + row) * self.left.strides[0]..][..self.depth];
                few::sums(simd, left, right, &mut self.workspace.sums[row][..self.columns]);
            }
            return self.finish(0, all);
        }
        // Sums of more terms than are summed at a time would lose digits there.
        let most_terms = if all <= few::MOST_ROWS { DEPTH } else { few::MOST_TERMS };
        let is_short = (1..=most_terms).contains(&self.depth);
        for first_row in (0..all).step_by(AT_ONCE) {
            let rows = AT_ONCE.min(all - first_row);
            if is_short && self.right.has_contiguous_rows() {
                self.add_rows(simd, first_row, rows);
                self.finish(first_row, rows);
                continue;
            }
            if self.depth == 0 {
                self.workspace.sums.fill([0.0; COLUMNS]);
            }
            for first in (0..self.depth).step_by(DEPTH) {
                let count = DEPTH.min(self.depth - first);
                let from = [first, self.place[0] + first_row];
                self.left.transposed().pack_turned(simd, from, [count, rows], &mut self.workspace.left);
                // The right side stays where it is the same for all rows.
                if first_row == 0 || self.depth > DEPTH {
                    self.pack_right(simd, first, count);
                }
                self.add_terms(simd, rows, first == 0, count);
            }
            self.finish(first_row, rows);
        }
    }
}

impl<'a, T: Element> Sums<'a, T> {
    /// The columns of `right`, if they lie one behind the other, and the rows of `left` are contiguous.
    fn rows_of_right(&self) -> Option<&'a [f32]> {
        let Matrix::F32(right) = self.right else { return None };
        let is_turned = right.strides == [1, self.depth] && self.left.strides[1] == 1;
        is_turned.then(|| &right.elements[self.place[1] * self.depth..][..self.columns * self.depth])
    }

    /// Sums of rows `first ..+ count`, row by row.
    #[inline(always)]
    fn add_rows<S: Simd>(&mut self, simd: S, first: usize, count: usize) {
        let (left, depth, columns) = (self.left, self.depth, self.columns);
        for (row, sums) in self.workspace.sums.iter_mut().enumerate().take(count) {
            let (at, sums) = ([self.place[0] + first + row, self.place[1]], &mut sums[..columns]);
            match self.right {
                Matrix::F32(right) => few::row(simd, left, right, depth, at, sums),
                Matrix::Bf16(right) => few::row(simd, left, right, depth, at, sums),
            }
        }
    }

    #[inline(always)]
    fn pack_right<S: Simd>(&mut self, simd: S, first: usize, count: usize) {
        for (index, block) in self.workspace.right.iter_mut().enumerate() {
            let column = index * BLOCK;
            let size = [count, BLOCK.min(self.columns.saturating_sub(column))];
            let from = [first, self.place[1] + column];
            match self.right {
                _ if size[1] == 0 => return,
                Matrix::F32(matrix) => matrix.pack_turned(simd, from, size, block),
                Matrix::Bf16(matrix) => matrix.pack(from, size, block),
            }
        }
    }

    #[inline(always)]
    fn add_terms<S: Simd>(&mut self, simd: S, rows: usize, is_first: bool, terms: usize) {
        for column in (0..self.columns).step_by(2 * S::LANES) {
            let part = Part { is_first, terms, column };
            let mut row = 0;
            while row < rows {
                row += match S::TILE_ROWS.min(rows - row) {
                    1 => part.add::<S, 1>(simd, row, self.workspace),
                    2 | 3 => part.add::<S, 2>(simd, row, self.workspace),
                    4..=7 => part.add::<S, 4>(simd, row, self.workspace),
                    _ => part.add::<S, 8>(simd, row, self.workspace),
                };
            }
        }
    }

    /// From sums to results, for rows `first ..+ count`.
    #[inline(always)]
    fn finish(&mut self, first: usize, count: usize) {
        let (scale, bias) = (self.scale, self.bias);
        let rows = self.y[first..first + count].iter_mut().enumerate().zip(&mut self.workspace.sums);
        for ((row, y), sums) in rows {
            let sums = &mut sums[..self.columns];
            if let Some(bias) = bias {
                for (sum, bias) in sums.iter_mut().zip(bias) {
                    *sum += bias;
                }
            }
            match &self.base {
                Base::None => {
                    for (y, sum) in y.iter_mut().zip(sums) {
                        *y = T::rounded(scale * *sum);
                    }
                }
                Base::Rows(rows) => {
                    for ((y, base), sum) in y.iter_mut().zip(rows[first + row]).zip(sums) {
                        *y = T::rounded(base.widened() + T::rounded(scale * *sum).widened());
                    }
                }
                Base::Result => {
                    for (y, sum) in y.iter_mut().zip(sums) {
                        *y = T::rounded(y.widened() + T::rounded(scale * *sum).widened());
                    }
                }
            }
        }
    }
}

/// Two vectors of columns, and some terms of their sums.
#[derive(Debug, Clone, Copy)]
struct Part {
    /// Whether there are no sums yet.
    is_first: bool,
    terms: usize,
    column: usize,
}

impl Part {
    /// Adds the terms of `R` rows; returns `R`.
    #[inline(always)]
    fn add<S: Simd, const R: usize>(self, simd: S, row: usize, workspace: &mut Workspace) -> usize {
        let Workspace { left, right, sums } = workspace;
        let (block, within) = (&right[self.column / BLOCK], self.column % BLOCK);
        let mut totals = [[simd.splat(0.0); 2]; R];
        for (left, right) in left.iter().zip(block).take(self.terms) {
            let right = [simd.load(&right[within..]), simd.load(&right[within + S::LANES..])];
            let Some(left) = left[row..].first_chunk::<R>() else { return R };
            for (totals, left) in totals.iter_mut().zip(left) {
                let left = simd.splat(*left);
                totals[0] = simd.mul_add(left, right[0], totals[0]);
                totals[1] = simd.mul_add(left, right[1], totals[1]);
            }
        }
        for (totals, sums) in totals.into_iter().zip(&mut sums[row..]) {
            for (total, sum) in totals.into_iter().zip(sums[self.column..].chunks_exact_mut(S::LANES)) {
                simd.store(if self.is_first { total } else { simd.add(simd.load(sum), total) }, sum);
            }
        }
        R
    }
}
