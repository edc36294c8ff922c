//! Panels multiplied step by step, in tiles of rows whose sums stay in registers.

use half::bf16;

use super::MOST_ROWS;
use super::panel::{Panel, Products, STEPS};
use super::piece::pack;
use super::zeros::HALF;
use crate::kernel::packed::{Packed, STRIP_WORDS, Segment, WORD_COLUMNS};
use crate::kernel::parts::Sums;
use crate::kernel::simd::{CodePairs, Simd};

/// The most rows of activations in a tile.
const TILE: usize = 6;

/// The left sides of a run's steps.
pub(super) struct Stepwise {
    steps: [[f32; MOST_ROWS]; STEPS],
    count: usize,
}

impl Stepwise {
    /// Of no run yet.
    #[inline(always)]
    pub(super) fn new() -> Self {
        Self { steps: [[0.0; MOST_ROWS]; STEPS], count: 0 }
    }
}

impl<A: CodePairs> Products<A> for Stepwise {
    #[inline(always)]
    fn begin(&mut self, x: &[bf16], packed: &Packed<'_>, segment: Segment) {
        self.count = segment.count / 2;
        pack(x, packed, segment, &mut self.steps[..self.count]);
    }

    #[inline(always)]
    fn add(&mut self, pairs: A, panel: &Panel, scales: &Sums, sums: &mut [Sums]) {
        let rows = sums.len();
        let mut tiles = Tiles { pairs, panel, steps: &self.steps[..self.count], scales, sums };
        // Of nearly equal heights.
        let count = rows.div_ceil(TILE);
        for index in 0..count {
            let (row, end) = (rows * index / count, rows * (index + 1) / count);
            match end - row {
                3 => tiles.add::<3>(row),
                4 => tiles.add::<4>(row),
                5 => tiles.add::<5>(row),
                _ => tiles.add::<TILE>(row),
            }
        }
    }
}

/// A strip of a run, unpacked.
struct Tiles<'a, A> {
    pairs: A,
    panel: &'a Panel,
    steps: &'a [[f32; MOST_ROWS]],
    scales: &'a Sums,
    /// Of all rows.
    sums: &'a mut [Sums],
}

impl<A: CodePairs> Tiles<'_, A> {
    /// Adds the products of rows `row ..+ R`.
    #[inline(always)]
    fn add<const R: usize>(&mut self, row: usize) {
        let (pairs, simd) = (self.pairs, self.pairs.simd());
        let to = self.sums[row..].first_chunk_mut::<R>().expect("a tile's rows are there");
        for first in (0..WORD_COLUMNS).step_by(HALF) {
            let mut sums = [[simd.splat(0.0); HALF]; R];
            for (steps, from) in self.steps.iter().zip(self.panel) {
                let left = steps[row..].first_chunk::<R>().expect("a step has all rows");
                let mut right = [simd.splat(0.0); HALF];
                for (v, right) in right.iter_mut().enumerate() {
                    *right = simd.load(&from.0[(first + v) * STRIP_WORDS..]);
                }
                for (sums, left) in sums.iter_mut().zip(left) {
                    for (sum, right) in sums.iter_mut().zip(right) {
                        *sum = pairs.step(*left, right, *sum);
                    }
                }
            }
            for (to, sums) in to.iter_mut().zip(sums) {
                for (v, sum) in sums.into_iter().enumerate() {
                    let at = (first + v) * STRIP_WORDS;
                    let to = &mut to.0[at..];
                    simd.store(simd.mul_add(simd.load(&self.scales.0[at..]), sum, simd.load(to)), to);
                }
            }
        }
    }
}
