//! The multiplication itself: all rows of `A` against one panel of `B`, in tiles that fill the registers.

use super::PANEL;
use crate::kernel::simd::{Aligned, Arithmetic, Job, Simd};

/// `c[:, column ..+ PANEL] += a * panel`; the panel's length is the number of steps, at most `STEPS`.
pub(crate) struct Sweep<'a, const STEPS: usize, const COLUMNS: usize> {
    pub(crate) a: &'a [Aligned<STEPS>],
    pub(crate) panel: &'a [Aligned<PANEL>],
    pub(crate) column: usize,
    pub(crate) c: &'a mut [Aligned<COLUMNS>],
}

impl<const STEPS: usize, const COLUMNS: usize> Job for Sweep<'_, STEPS, COLUMNS> {
    #[inline(always)]
    fn run<A: Arithmetic>(mut self, arithmetic: A) {
        // Tiles of nearly equal height: 33 rows make three of eleven, not two of fourteen and one of five.
        let rows = self.a.len();
        let tiles = rows.div_ceil(A::S::TILE_ROWS);
        let mut row = 0;
        for index in 0..tiles {
            let end = rows * (index + 1) / tiles;
            self.tile(arithmetic, row, end - row);
            row = end;
        }
    }
}

impl<const STEPS: usize, const COLUMNS: usize> Sweep<'_, STEPS, COLUMNS> {
    #[inline(always)]
    fn tile<A: Arithmetic>(&mut self, arithmetic: A, row: usize, rows: usize) {
        match (rows, A::S::TILE_VECTORS) {
            (1, 1) => self.rows::<A, 1, 1>(arithmetic, row),
            (2, 1) => self.rows::<A, 2, 1>(arithmetic, row),
            (3, 1) => self.rows::<A, 3, 1>(arithmetic, row),
            (4, 1) => self.rows::<A, 4, 1>(arithmetic, row),
            (5, 1) => self.rows::<A, 5, 1>(arithmetic, row),
            (6, 1) => self.rows::<A, 6, 1>(arithmetic, row),
            (1, _) => self.rows::<A, 1, 2>(arithmetic, row),
            (2, _) => self.rows::<A, 2, 2>(arithmetic, row),
            (3, _) => self.rows::<A, 3, 2>(arithmetic, row),
            (4, _) => self.rows::<A, 4, 2>(arithmetic, row),
            (5, _) => self.rows::<A, 5, 2>(arithmetic, row),
            (6, _) => self.rows::<A, 6, 2>(arithmetic, row),
            (7, _) => self.rows::<A, 7, 2>(arithmetic, row),
            (8, _) => self.rows::<A, 8, 2>(arithmetic, row),
            (9, _) => self.rows::<A, 9, 2>(arithmetic, row),
            (10, _) => self.rows::<A, 10, 2>(arithmetic, row),
            (11, _) => self.rows::<A, 11, 2>(arithmetic, row),
            (12, _) => self.rows::<A, 12, 2>(arithmetic, row),
            (13, _) => self.rows::<A, 13, 2>(arithmetic, row),
            _ => self.rows::<A, 14, 2>(arithmetic, row),
        }
    }

    /// `R` rows, `V` vectors at a time.
    #[inline(always)]
    fn rows<A: Arithmetic, const R: usize, const V: usize>(&mut self, arithmetic: A, row: usize) {
        let simd = arithmetic.simd();
        let lanes = A::S::LANES;
        let Some(a) = self.a[row..].first_chunk::<R>() else { return };
        let Some(c) = self.c[row..].first_chunk_mut::<R>() else { return };
        for at in (0..PANEL).step_by(V * lanes) {
            let mut totals = [[simd.splat(0.0); V]; R];
            for (step, b) in self.panel.iter().take(STEPS).enumerate() {
                let mut right = [simd.splat(0.0); V];
                for (v, right) in right.iter_mut().enumerate() {
                    *right = simd.load(&b.0[at + v * lanes..]);
                }
                for r in 0..R {
                    let left = a[r].0[step];
                    for v in 0..V {
                        totals[r][v] = arithmetic.step(left, right[v], totals[r][v]);
                    }
                }
            }
            for (totals, c) in totals.iter().zip(c.iter_mut()) {
                for (v, total) in totals.iter().enumerate() {
                    let sum = &mut c.0[self.column + at + v * lanes..];
                    simd.store(simd.add(simd.load(sum), *total), sum);
                }
            }
        }
    }
}
