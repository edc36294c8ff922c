//! `y [M, O] = x [M, I] * W [I, O]` for small `M`: block by block of weight rows, and strip by strip within a block.

use super::block::{Block, block_end};
use super::workspace::Workspace;
use crate::kernel::ahead::Ahead;
use crate::kernel::element::Element;
use crate::kernel::isa::Isa;
use crate::kernel::packed::{Packed, Segment};
use crate::kernel::parallel::ParallelFor;
use crate::kernel::parts::{Order, Piece, Split, Sums, in_parts};
use crate::kernel::simd::{Operation, Simd, dispatch};

/// Right for any `I` and `O` above zero, and `M` up to eight.
pub(crate) fn forward<T: Element>(
    x: &[T],
    packed: &Packed<'_>,
    bias: Option<&[f32]>,
    y: &mut [T],
    pool: &dyn ParallelFor,
    isa: Isa,
) {
    let rows = y.len() / packed.out_features();
    let split = Split::new(packed, rows, pool.threads());
    in_parts(packed, &split, Order::Columns, bias, y, pool, isa, &|piece, sums| {
        dispatch(isa, PieceTask { x, packed, piece, next: split.after(piece), rows, sums });
    });
}

/// Adds a piece's products to `sums`, `[strips, M]`.
struct PieceTask<'a, T> {
    x: &'a [T],
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
        let Self { x, packed, piece, next, rows, sums } = self;
        let mut workspace = Workspace::take();
        let mut first = piece.rows[0];
        while first < piece.rows[1] {
            let weight_rows = first..block_end(packed, first).min(piece.rows[1]);
            first = weight_rows.end;
            for (x, to) in x.chunks_exact(packed.in_features()).zip(&mut workspace.left) {
                T::widen(simd, &x[weight_rows.clone()], &mut to.0[..weight_rows.len()]);
            }
            let now = Segment { group: 0, first: weight_rows.start, count: weight_rows.len() };
            for (index, sums) in sums.chunks_exact_mut(rows).enumerate() {
                let strip = packed.strip(piece.strips[0] + index);
                let ahead = Ahead::new(packed, piece, next, now, index);
                let (weight_rows, workspace) = (weight_rows.clone(), &mut *workspace);
                simd.vectorize(Block { packed, strip, weight_rows, sums, ahead, workspace });
            }
        }
        workspace.put_back();
    }
}
