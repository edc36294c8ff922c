//! `y [M, O] = x [M, I] * W [I, O]` for small `M`: run by run of weight rows, and strip by strip within a run; while one is
//! multiplied, the next is fetched.

use std::cell::Cell;
use std::marker::PhantomData;

use super::FORWARD_ROWS;
use super::run::{Kept, RUN, Run, UNPACKING};
use super::tiling::{Tiles, Tiling, Whole};
use crate::kernel::ahead::Ahead;
use crate::kernel::element::{Element, are_ordinary};
use crate::kernel::isa::Isa;
use crate::kernel::packed::{Packed, STRIP_COLUMNS, STRIP_WORDS, Segment};
use crate::kernel::parallel::ParallelFor;
use crate::kernel::parts::{Piece, Split as Parts, Sums, in_parts};
use crate::kernel::simd::{Aligned, Lanes, Operation, Simd, dispatch};
use crate::kernel::strips::{Padded, Strips, strips};
use crate::kernel::weigh::{Rounded, Split, Unrounded, Weigh};

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

thread_local! {
    static KEPT: Cell<Vec<Sums>> = const { Cell::new(Vec::new()) };
}

impl<T: Element, W: Weigh> Operation for Weighed<'_, T, W> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { task: PieceTask { x, packed, piece, next, rows, sums, .. }, weigh } = self;
        let mut left = [[0.0; RUN]; FORWARD_ROWS];
        let mut kept: Kept = [[Lanes([0; STRIP_WORDS]); 2]; RUN];
        let mut padded = Padded::new();
        let mut scales = KEPT.take();
        scales.resize(piece.width(), Aligned([0.0; STRIP_COLUMNS]));
        let longest = if rows <= UNPACKING { packed.run(RUN / 2) } else { RUN };
        for segment in packed.segments(piece.weight_rows(), longest) {
            for (x, to) in x.chunks_exact(packed.in_features()).zip(&mut left) {
                T::widen(simd, &x[segment.first..][..segment.count], &mut to[..segment.count]);
            }
            if segment.begins {
                for (strip, scales) in (piece.strips[0]..).zip(&mut scales) {
                    *scales = simd.by_nibble(&packed.scale_strip(simd, segment.group, packed.strip(strip)));
                }
            }
            let ahead = Ahead::new(packed, piece, next, segment);
            let strips = strips(packed, piece, segment, &mut padded);
            let run = RunTask {
                weigh,
                segment,
                strips,
                scales: &scales,
                left: &left,
                kept: &mut kept,
                rows,
                sums,
                ahead,
            };
            match (rows, S::REGISTERS) {
                (2, 32) => run.add::<S, Whole<2, 4>>(simd),
                (3, 32) => run.add::<S, Whole<3, 4>>(simd),
                (4, 32) => run.add::<S, Whole<4, 4>>(simd),
                (5, 32) => run.add::<S, Whole<5, 4>>(simd),
                (6, 32) => run.add::<S, Whole<6, 4>>(simd),
                (1, 16) if W::TAKEN > 0 => run.add::<S, Whole<1, 2>>(simd),
                (1, _) => run.add::<S, Whole<1, 4>>(simd),
                (2, _) => run.add::<S, Whole<2, 2>>(simd),
                (3, _) => run.add::<S, Whole<3, 2>>(simd),
                (4, _) => run.add::<S, Whole<4, 2>>(simd),
                _ => run.add::<S, Tiles>(simd),
            }
            if segment.ends {
                for strip in piece.strips[0]..piece.strips[1] {
                    packed.prefetch_group(simd, segment.group + 1, packed.strip(strip));
                }
            }
        }
        KEPT.set(scales);
    }
}

/// A run in all strips.
struct RunTask<'a, W> {
    weigh: W,
    segment: Segment,
    strips: [Strips<'a>; 2],
    /// Of each strip, by nibble.
    scales: &'a [Sums],
    left: &'a [[f32; RUN]; FORWARD_ROWS],
    kept: &'a mut Kept,
    rows: usize,
    sums: &'a mut [Sums],
    ahead: Ahead<'a>,
}

impl<W: Weigh> RunTask<'_, W> {
    /// Adds its products; compiled by itself, so that few things compete for registers.
    #[inline(always)]
    fn add<S: Simd, T: Tiling>(self, simd: S) {
        simd.vectorize(Tiled { run: self, tiling: PhantomData::<T> });
    }
}

/// A run in all strips, tile by tile.
struct Tiled<'a, W, T> {
    run: RunTask<'a, W>,
    tiling: PhantomData<T>,
}

impl<W: Weigh, T: Tiling> Operation for Tiled<'_, W, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let RunTask { weigh, segment, strips, scales, left, kept, rows, sums, mut ahead } = self.run;
        let mut of_strips = sums.chunks_exact_mut(rows).zip(scales);
        for Strips { rows, zeros, words: [start, end] } in strips {
            for (word, (sums, scales)) in (start..end).step_by(STRIP_WORDS).zip(of_strips.by_ref()) {
                let (words, zeros) = (rows.strip(word), &zeros[word..]);
                let mut run = Run { weigh, words, zeros, scales, left, sums, kept };
                T::add(simd, &mut run, &mut ahead);
                ahead.turn(simd, segment.count);
            }
        }
    }
}
