//! One task: some rows of the weight in some strips, run by run; while one is multiplied, the next is fetched.

use std::cell::Cell;

use half::bf16;

use super::Outcome;
use super::direct::Direct;
use super::panel::Paneled;
use crate::kernel::packed::{Packed, STRIP_COLUMNS, Segment, Strip};
use crate::kernel::parts::{Piece, Sums};
use crate::kernel::simd::{Aligned, Arithmetic, CodePairs, Operation, Simd};

/// From so many rows on, AMX is faster than the registers.
const FEWEST_TILED_ROWS: usize = 2;

/// Adds a piece's products to `sums`, `[strips, M]`, which are zero.
pub(super) struct PieceTask<'a> {
    pub(super) x: &'a [bf16],
    pub(super) packed: &'a Packed<'a>,
    pub(super) piece: Piece,
    /// What the thread does next, perhaps.
    pub(super) next: Option<Piece>,
    pub(super) rows: usize,
    pub(super) sums: &'a mut [Sums],
    /// Whether no scale was too large so far.
    pub(super) finite: bool,
}

thread_local! {
    static KEPT: Cell<Vec<Sums>> = const { Cell::new(Vec::new()) };
}

impl Operation for PieceTask<'_> {
    type Output = Outcome;

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) -> Outcome {
        let Some(pairs) = simd.pairs() else { return Outcome::NotThisWay };
        match self.rows {
            FEWEST_TILED_ROWS.. if pairs.amx().is_some() => pairs.vectorize_codes(Paneled(&mut self)),
            1 => self.direct::<_, 1>(pairs),
            2 => self.direct::<_, 2>(pairs),
            3 => self.direct::<_, 3>(pairs),
            4 => self.direct::<_, 4>(pairs),
            5 => self.direct::<_, 5>(pairs),
            6 => self.direct::<_, 6>(pairs),
            _ => pairs.vectorize_codes(Paneled(&mut self)),
        }
        for sums in self.sums.iter_mut() {
            *sums = pairs.by_nibble(sums);
        }
        if self.finite { Outcome::Made } else { Outcome::NotThisWay }
    }
}

impl PieceTask<'_> {
    #[inline(always)]
    fn direct<A: CodePairs, const M: usize>(&mut self, pairs: A) {
        let mut kept = KEPT.take();
        if kept.len() < self.sums.len() {
            kept.resize(self.sums.len(), Aligned([0.0; STRIP_COLUMNS]));
        }
        let totals = &mut kept[..self.sums.len()];
        pairs.vectorize_codes(Direct::<M> { task: self, totals });
        KEPT.set(kept);
    }
}

/// The scales of a strip, in the order of the vectors of pairs.
#[inline(always)]
pub(super) fn scales<A: CodePairs>(pairs: A, packed: &Packed<'_>, group: usize, strip: Strip) -> Sums {
    let simd = pairs.simd();
    pairs.paired(&simd.by_nibble(&packed.scale_strip(simd, group, strip)))
}

/// The activations that a run meets, as left sides of its steps.
#[inline(always)]
pub(super) fn pack<const M: usize>(
    x: &[bf16],
    packed: &Packed<'_>,
    segment: Segment,
    steps: &mut [[f32; M]],
) {
    for (row, x) in x.chunks_exact(packed.in_features()).enumerate() {
        let x = x[segment.first..][..segment.count].as_chunks().0;
        for (step, [first, second]) in steps.iter_mut().zip(x) {
            let bits = u32::from(first.to_bits()) | u32::from(second.to_bits()) << 16;
            step[row] = f32::from_bits(bits);
        }
    }
}
