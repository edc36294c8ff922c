//! Rows for columns: a part of a matrix.

use super::simd::{Job, Simd};

/// Rows and columns that are turned together.
const SQUARE: usize = 8;

/// Rows that become columns.
pub(super) struct Turn<'a> {
    /// From the part's first element to its last.
    pub(super) matrix: &'a [f32],
    /// From row to row.
    pub(super) stride: usize,
    /// A row for each column of the part, of as many elements as it has rows; what was there is forgotten.
    pub(super) turned: &'a mut [&'a mut [f32]],
}

impl Job for Turn<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { matrix, stride, turned } = self;
        let mut eights = turned.chunks_exact_mut(SQUARE);
        let mut column = 0;
        for turned in &mut eights {
            let whole = turned[0].len() / SQUARE * SQUARE;
            for row in (0..whole).step_by(SQUARE) {
                let mut square = [matrix; SQUARE];
                for (at, square) in square.iter_mut().enumerate() {
                    *square = &matrix[(row + at) * stride + column..];
                }
                for (turned, column) in turned.iter_mut().zip(simd.transposed(square)) {
                    turned[row..row + SQUARE].copy_from_slice(&column);
                }
            }
            for (index, turned) in turned.iter_mut().enumerate() {
                fill(turned, whole, &matrix[column + index..], stride);
            }
            column += SQUARE;
        }
        for (index, turned) in eights.into_remainder().iter_mut().enumerate() {
            fill(turned, 0, &matrix[column + index..], stride);
        }
    }
}

/// A column's elements, from row `first` on.
#[inline(always)]
fn fill(turned: &mut [f32], first: usize, column: &[f32], stride: usize) {
    for (to, from) in turned.iter_mut().zip(column.iter().step_by(stride)).skip(first) {
        *to = *from;
    }
}
