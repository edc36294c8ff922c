//! Panels multiplied by AMX, tiles of sixteen rows at a time.

use half::bf16;

use super::MOST_ROWS;
use super::panel::{Panel, Products, STEPS};
use crate::kernel::packed::{Packed, STRIP_COLUMNS, STRIP_WORDS, Segment};
use crate::kernel::parts::Sums;
use crate::kernel::simd::{Aligned, Amx, AmxSetUp, Begin, CodePairs, Simd, TILE};

/// The left sides of a run's steps, row by row, and the sums of a strip before they are scaled.
pub(super) struct Tiled {
    amx: AmxSetUp,
    rows: usize,
    steps: usize,
    left: [Aligned<TILE>; MOST_ROWS * STEPS / TILE],
    totals: [Sums; MOST_ROWS],
}

impl Tiled {
    /// Of no run yet.
    #[inline(always)]
    pub(super) fn new(amx: Amx, rows: usize) -> Self {
        Self {
            amx: amx.set_up(rows),
            rows: rows.next_multiple_of(TILE),
            steps: 0,
            left: [Aligned([0.0; TILE]); MOST_ROWS * STEPS / TILE],
            totals: [Aligned([0.0; STRIP_COLUMNS]); MOST_ROWS],
        }
    }
}

impl<A: CodePairs> Products<A> for Tiled {
    #[inline(always)]
    fn begin(&mut self, x: &[bf16], packed: &Packed<'_>, segment: Segment) {
        let tiles = segment.count.div_ceil(2 * TILE);
        self.steps = tiles * TILE;
        for (row, x) in x.chunks_exact(packed.in_features()).enumerate() {
            let to = self.left[row / TILE * self.steps + row % TILE..].iter_mut().step_by(TILE);
            for (to, x) in to.zip(x[segment.first..][..segment.count].chunks(2 * TILE)) {
                if x.len() < 2 * TILE {
                    // Steps that fill up a tile meet differences of another run.
                    to.0.fill(0.0);
                }
                for (to, [first, second]) in to.0.iter_mut().zip(x.as_chunks().0) {
                    *to = f32::from_bits(u32::from(first.to_bits()) | u32::from(second.to_bits()) << 16);
                }
            }
        }
    }

    #[inline(always)]
    fn add(&mut self, pairs: A, panel: &Panel, scales: &Sums, sums: &mut [Sums]) {
        let simd = pairs.simd();
        let (left, totals) = (&self.left[..self.rows * self.steps / TILE], &mut self.totals[..self.rows]);
        self.amx.add(Begin::Zero, left, &panel[..self.steps], totals, 0);
        for at in (0..STRIP_COLUMNS).step_by(STRIP_WORDS) {
            let scale = simd.load(&scales.0[at..]);
            for (sums, total) in sums.iter_mut().zip(totals.iter()) {
                let sum = &mut sums.0[at..];
                simd.store(simd.mul_add(scale, simd.load(&total.0[at..]), simd.load(sum)), sum);
            }
        }
    }
}
