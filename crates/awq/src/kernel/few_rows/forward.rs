//! `y [M, O] = x [M, I] * W [I, O]` for small `M`: run by run of weight rows, and strip by strip within a run; while one is
//! multiplied, the next is fetched.

use super::FORWARD_ROWS;
use super::run::{Kept, RUN, Run};
use super::weigh::{Rounded, Split, Unrounded, Weigh};
use crate::kernel::ahead::Ahead;
use crate::kernel::element::{Element, are_ordinary};
use crate::kernel::isa::Isa;
use crate::kernel::packed::{Packed, STRIP_WORDS};
use crate::kernel::parallel::ParallelFor;
use crate::kernel::parts::{Piece, Split as Parts, Sums, in_parts};
use crate::kernel::simd::{Lanes, Operation, Simd, dispatch};

/// Right for any `I` and `O` above zero, and `M` up to [`FORWARD_ROWS`].
pub(crate) fn forward<T: Element>(
    x: &[T],
    packed: &Packed<'_>,
    bias: Option<&[f32]>,
    y: &mut [T],
    pool: &dyn ParallelFor,
    isa: Isa,
) {
    let rows = y.len() / packed.out_features();
    let parts = Parts::new(packed, rows, pool.threads());
    let may_stay_unrounded = T::as_bf16(x).is_some_and(are_ordinary);
    in_parts(packed, &parts, bias, y, pool, isa, &|piece, sums| {
        let next = parts.after(piece);
        dispatch(isa, PieceTask { x, may_stay_unrounded, packed, piece, next, rows, sums });
    });
}

/// Adds a piece's products to `sums`, `[strips, M]`.
struct PieceTask<'a, T> {
    x: &'a [T],
    may_stay_unrounded: bool,
    packed: &'a Packed<'a>,
    piece: Piece,
    next: Option<Piece>,
    rows: usize,
    sums: &'a mut [Sums],
}

impl<T: Element> Operation for PieceTask<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let groups = self.packed.groups(self.piece.weight_rows());
        // Weights that are exact look the same from all ways; an unrounded one is within the bound of bf16 alone.
        if self.may_stay_unrounded && self.packed.weights_are_finite(groups.clone()) {
            simd.vectorize(Weighed { task: self, weigh: Unrounded });
        } else if let Some(factor) = self.packed.split_factor(groups) {
            simd.vectorize(Weighed { task: self, weigh: Split { factor } });
        } else {
            let weigh = Rounded(self.packed.rounding());
            simd.vectorize(Weighed { task: self, weigh });
        }
    }
}

/// The task in one way.
struct Weighed<'a, T, W> {
    task: PieceTask<'a, T>,
    weigh: W,
}

impl<T: Element, W: Weigh> Operation for Weighed<'_, T, W> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { task: PieceTask { x, packed, piece, next, rows, sums, .. }, weigh } = self;
        let mut left = [[0.0; RUN]; FORWARD_ROWS];
        let mut kept: Kept = [[Lanes([0; STRIP_WORDS]); 2]; RUN];
        for segment in packed.segments(piece.weight_rows(), RUN) {
            for (x, to) in x.chunks_exact(packed.in_features()).zip(&mut left) {
                T::widen(simd, &x[segment.first..][..segment.count], &mut to[..segment.count]);
            }
            let mut ahead = Ahead::new(packed, piece, next, segment);
            for (index, sums) in sums.chunks_exact_mut(rows).enumerate() {
                let strip = packed.strip(piece.strips[0] + index);
                let mut run = Run { weigh, packed, segment, strip, sums, left: &left, kept: &mut kept };
                run.add(simd, &mut ahead);
                ahead.turn(segment.count);
            }
        }
    }
}
