//! How many rows of activations meet a run at once, and with how many vectors of columns: as many as there are registers
//! for sums.

use super::run::Run;
use crate::kernel::ahead::Ahead;
use crate::kernel::simd::Simd;
use crate::kernel::weigh::Weigh;

/// All rows of a product, some at a time.
pub(super) trait Tiling {
    /// Adds the products of a run.
    fn add<S: Simd, W: Weigh>(simd: S, run: &mut Run<'_, W>, ahead: &mut Ahead<'_>);
}

/// `R` rows, all at once, with `V` nibbles of a vector of words.
pub(super) struct Whole<const R: usize, const V: usize>;

impl<const R: usize, const V: usize> Tiling for Whole<R, V> {
    #[inline(always)]
    fn add<S: Simd, W: Weigh>(simd: S, run: &mut Run<'_, W>, ahead: &mut Ahead<'_>) {
        run.add::<S, R, V>(simd, 0, ahead);
    }
}

/// More rows than that.
pub(super) struct Tiles;

impl Tiling for Tiles {
    #[inline(always)]
    fn add<S: Simd, W: Weigh>(simd: S, run: &mut Run<'_, W>, ahead: &mut Ahead<'_>) {
        let mut row = 0;
        while row < run.sums.len() {
            row += tile(simd, run, row, ahead);
        }
    }
}

/// Rows from `row` on; returns how many.
#[inline(always)]
fn tile<S: Simd, W: Weigh>(simd: S, run: &mut Run<'_, W>, row: usize, ahead: &mut Ahead<'_>) -> usize {
    match (run.sums.len() - row, S::REGISTERS) {
        (1, 16) if W::TAKEN > 0 => run.add::<S, 1, 2>(simd, row, ahead),
        (1, _) => run.add::<S, 1, 4>(simd, row, ahead),
        (2, 32) => run.add::<S, 2, 4>(simd, row, ahead),
        (3, 32) => run.add::<S, 3, 4>(simd, row, ahead),
        (4, 32) => run.add::<S, 4, 4>(simd, row, ahead),
        (5, 32) => run.add::<S, 5, 4>(simd, row, ahead),
        (6, 32) => run.add::<S, 6, 4>(simd, row, ahead),
        (7, 32) => run.add::<S, 7, 2>(simd, row, ahead),
        (_, 32) => run.add::<S, 8, 2>(simd, row, ahead),
        (2, _) => run.add::<S, 2, 2>(simd, row, ahead),
        (3, _) => run.add::<S, 3, 2>(simd, row, ahead),
        _ => run.add::<S, 4, 2>(simd, row, ahead),
    }
}
