//! One task: some rows of the weight in some strips, run by run; while one is multiplied, the next is fetched.

use half::bf16;

use super::Outcome;
use super::block::{Block, Buffers, FEW, LONG_RUN, RUN};
use crate::kernel::ahead::Ahead;
use crate::kernel::packed::Packed;
use crate::kernel::parts::{Piece, Sums};
use crate::kernel::simd::{CodeJob, CodePairs, Operation, Simd};

/// Adds a piece's products to `sums`, `[strips, M]`.
pub(super) struct PieceTask<'a> {
    pub(super) x: &'a [bf16],
    pub(super) packed: &'a Packed<'a>,
    pub(super) piece: Piece,
    /// What the thread does next, perhaps.
    pub(super) next: Option<Piece>,
    pub(super) rows: usize,
    pub(super) sums: &'a mut [Sums],
}

impl Operation for PieceTask<'_> {
    type Output = Outcome;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Outcome {
        let mut outcome = Outcome::NotThisWay;
        if let Some(pairs) = simd.pairs() {
            pairs.vectorize_codes(WithPairs { task: self, outcome: &mut outcome });
        }
        outcome
    }
}

struct WithPairs<'a, 'b> {
    task: PieceTask<'a>,
    outcome: &'b mut Outcome,
}

impl CodeJob for WithPairs<'_, '_> {
    #[inline(always)]
    fn run<A: CodePairs>(self, pairs: A) {
        let PieceTask { x, packed, piece, next, rows, sums } = self.task;
        let simd = pairs.simd();
        if !packed.weights_are_finite(packed.groups(piece.weight_rows())) {
            return;
        }
        let mut buffers = Buffers::new();
        let run = if rows <= FEW { RUN } else { LONG_RUN };
        for segment in packed.segments(piece.weight_rows(), run) {
            for index in 0..piece.width() {
                let strip = packed.strip(piece.strips[0] + index);
                let block = Block {
                    pairs,
                    packed,
                    segment,
                    strip,
                    x: &x[segment.first..],
                    scales: &simd.by_nibble(&packed.scale_strip(simd, segment.group, strip)),
                    sums: &mut sums[index * rows..],
                    rows,
                };
                block.run(&mut buffers, Ahead::new(packed, piece, next, segment, index));
            }
        }
        *self.outcome = Outcome::Made;
    }
}
