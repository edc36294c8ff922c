//! Rows for columns: some rows of a matrix.

use super::simd::{Job, Simd};

/// Rows and columns that are turned together.
const SQUARE: usize = 8;

/// Rows that become columns.
pub(super) struct Turn<'a> {
    /// `[n, r]`, contiguous.
    pub(super) matrix: &'a [f32],
    /// The rows of `[r, n]`; what was there is forgotten.
    pub(super) turned: &'a mut [&'a mut [f32]],
}

impl Job for Turn<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { matrix, turned } = self;
        let r = turned.len();
        let mut columns = turned.chunks_exact_mut(SQUARE);
        let mut first = 0;
        for turned in &mut columns {
            let mut rows = matrix.chunks_exact(SQUARE * r);
            let mut row = 0;
            for rows in &mut rows {
                let mut square = [&rows[first..]; SQUARE];
                for (at, square) in square.iter_mut().enumerate() {
                    *square = &rows[at * r + first..];
                }
                for (turned, column) in turned.iter_mut().zip(simd.transposed(square)) {
                    turned[row..row + SQUARE].copy_from_slice(&column);
                }
                row += SQUARE;
            }
            for (at, rest) in rows.remainder().chunks_exact(r).enumerate() {
                for (turned, element) in turned.iter_mut().zip(&rest[first..]) {
                    turned[row + at] = *element;
                }
            }
            first += SQUARE;
        }
        for (column, turned) in columns.into_remainder().iter_mut().enumerate() {
            for (to, from) in turned.iter_mut().zip(matrix.chunks_exact(r)) {
                *to = from[first + column];
            }
        }
    }
}
