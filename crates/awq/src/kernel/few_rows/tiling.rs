//! How many rows of activations meet a run at once, and with how many vectors of columns: as many as there are registers
//! for sums.

use super::run::Run;
use crate::kernel::ahead::Ahead;
use crate::kernel::simd::{Operation, Simd};
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
            let rows = height::<S, W>(run.sums.len() - row);
            Tile { run, row, ahead }.add(simd, rows);
            row += rows;
        }
    }
}

/// How many of the rows that are left make a tile. With few registers, eight rows meet one vector at a time, and four meet
/// two: better where a weight takes no longer than reading an activation once more.
fn height<S: Simd, W: Weigh>(left: usize) -> usize {
    match S::REGISTERS {
        16 if W::TAKEN == 0 => left.min(4),
        // Of nearly equal heights.
        _ => left.div_ceil(left.div_ceil(8)),
    }
}

/// Some rows of a run.
struct Tile<'a, 'b, 'c, W> {
    run: &'a mut Run<'b, W>,
    row: usize,
    ahead: &'a mut Ahead<'c>,
}

impl<W: Weigh> Tile<'_, '_, '_, W> {
    /// Adds the products of so many rows, as `height` says.
    #[inline(always)]
    fn add<S: Simd>(self, simd: S, rows: usize) {
        match (rows, S::REGISTERS) {
            (..=4, 32) => self.of::<S, 4, 4>(simd),
            (5, 32) => self.of::<S, 5, 4>(simd),
            (6, 32) => self.of::<S, 6, 4>(simd),
            (7, 32) => self.of::<S, 7, 2>(simd),
            (_, 32) => self.of::<S, 8, 2>(simd),
            (1, _) => self.of::<S, 1, 4>(simd),
            (2, _) => self.of::<S, 2, 2>(simd),
            (3, _) => self.of::<S, 3, 2>(simd),
            (4, _) => self.of::<S, 4, 2>(simd),
            (5, _) => self.of::<S, 5, 1>(simd),
            (6, _) => self.of::<S, 6, 1>(simd),
            (7, _) => self.of::<S, 7, 1>(simd),
            _ => self.of::<S, 8, 1>(simd),
        }
    }

    /// Compiled by itself, as `Whole` is.
    #[inline(always)]
    fn of<S: Simd, const R: usize, const V: usize>(self, simd: S) {
        simd.vectorize(TileOf::<W, R, V>(self));
    }
}

struct TileOf<'a, 'b, 'c, W, const R: usize, const V: usize>(Tile<'a, 'b, 'c, W>);

impl<W: Weigh, const R: usize, const V: usize> Operation for TileOf<'_, '_, '_, W, R, V> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Tile { run, row, ahead } = self.0;
        run.add::<S, R, V>(simd, row, ahead);
    }
}
