//! Matrices as libtorch holds them, and their copies for a tile.

use super::element::Element;
use super::simd::Simd;
use half::bf16;

/// A matrix with any strides.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a, T> {
    /// From the first element to the last.
    pub(super) elements: &'a [T],
    /// From row to row, and from column to column.
    pub(super) strides: [usize; 2],
}

/// A matrix of either dtype.
#[derive(Debug, Clone, Copy)]
pub(super) enum Matrix<'a> {
    F32(View<'a, f32>),
    Bf16(View<'a, bf16>),
}

impl Matrix<'_> {
    /// Whether a row's elements lie side by side.
    #[inline(always)]
    pub(super) fn has_contiguous_rows(&self) -> bool {
        let (Self::F32(View { strides, .. }) | Self::Bf16(View { strides, .. })) = self;
        strides[1] == 1
    }
}

/// Rows and columns that are transposed together.
const SQUARE: usize = 8;

impl<T: Element> View<'_, T> {
    /// Copies a block of so many rows and columns, from a place on, into the beginning of `to`, widened.
    #[inline(always)]
    pub(super) fn pack<const N: usize>(self, from: [usize; 2], size: [usize; 2], to: &mut [[f32; N]]) {
        let [down, right] = self.strides;
        for (row, to) in to.iter_mut().take(size[0]).enumerate() {
            let first = (from[0] + row) * down + from[1] * right;
            if right == 1 {
                for (to, from) in to.iter_mut().zip(&self.elements[first..][..size[1]]) {
                    *to = from.widened();
                }
            } else {
                for (column, to) in to.iter_mut().take(size[1]).enumerate() {
                    *to = self.elements[first + column * right].widened();
                }
            }
        }
    }
}

impl View<'_, f32> {
    /// Rows for columns.
    pub(super) fn transposed(self) -> Self {
        let [rows, columns] = self.strides;
        Self { strides: [columns, rows], ..self }
    }

    /// [`View::pack`], fast for contiguous columns, too.
    #[inline(always)]
    pub(super) fn pack_turned<S: Simd, const N: usize>(
        self,
        simd: S,
        from: [usize; 2],
        size: [usize; 2],
        to: &mut [[f32; N]],
    ) {
        let [down, right] = self.strides;
        if down != 1 || right == 1 {
            return self.pack(from, size, to);
        }
        let whole = size.map(|size| size / SQUARE * SQUARE);
        for row in (0..whole[0]).step_by(SQUARE) {
            for column in (0..whole[1]).step_by(SQUARE) {
                let at = |index| from[0] + row + (from[1] + column + index) * right;
                let square = simd.transposed(std::array::from_fn(|index| &self.elements[at(index)..]));
                for (to, square) in to[row..].iter_mut().zip(square) {
                    to[column..column + SQUARE].copy_from_slice(&square);
                }
            }
        }
        // What is left at the right, and below.
        for (row, to) in to.iter_mut().take(size[0]).enumerate() {
            let done = if row < whole[0] { whole[1] } else { 0 };
            for (column, to) in to.iter_mut().enumerate().take(size[1]).skip(done) {
                *to = self.elements[from[0] + row + (from[1] + column) * right];
            }
        }
    }
}
