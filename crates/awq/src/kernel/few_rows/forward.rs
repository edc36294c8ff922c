//! `y [M, O] = x [M, I] * W [I, O]` for small `M`: run by run of weight rows, and strip by strip within a run; while one is
//! multiplied, the next is fetched.

use std::cell::Cell;

use super::integers;
use super::panel::Paneled;
use super::run::{Kept, RUN, Run, UNPACKING};
use crate::kernel::ahead::Ahead;
use crate::kernel::element::{Element, are_ordinary};
use crate::kernel::isa::Isa;
use crate::kernel::packed::{Packed, STRIP_COLUMNS, STRIP_WORDS, Segment};
use crate::kernel::panel::{PANEL, PANELS};
use crate::kernel::parallel::ParallelFor;
use crate::kernel::parts::{Piece, Split as Parts, Sums, in_parts};
use crate::kernel::simd::{Aligned, EXACT_ROWS, Lanes, Operation, Simd, dispatch};
use crate::kernel::strips::{Padded, Strips, strips};
use crate::kernel::weigh::{Rounded, Split, Unrounded, Weigh};

/// Right for any `I` and `O` above zero, and `M` up to [`super::FORWARD_ROWS`].
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
        // Weights that are exact look the same from all ways; an unrounded one is within the bound of bf16 alone. In a panel
        // it would have to be scaled, which is half of the way to rounding it.
        let whole = self.rows <= WHOLE;
        if whole && self.may_stay_unrounded && self.packed.weights_are_finite(groups.clone()) {
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

/// Up to so many rows, registers hold the sums of all of them beside the weights that they meet.
const WHOLE: usize = 8;

/// Whether so many rows meet panels. Rounding takes a register more than weights that stay unrounded, which no panel holds.
fn is_paneled<S: Simd, W: Weigh>(rows: usize) -> bool {
    W::TAKEN > 0 && rows > if S::REGISTERS == 16 { WHOLE - 1 } else { WHOLE }
}

/// What a task needs beside its operands, kept from task to task.
#[derive(Default)]
struct Workspace {
    /// Of each strip, by nibble.
    scales: Vec<Sums>,
    /// Of each row, for a run.
    left: Vec<Aligned<RUN>>,
    /// A strip of a run, up to [`WHOLE`] rows.
    kept: Vec<Kept>,
    /// A strip of a run, for more.
    panels: Vec<Aligned<PANEL>>,
    /// Of each strip and row, a group's sums of integers.
    totals: Vec<Sums>,
}

thread_local! {
    static KEPT: Cell<Option<Box<Workspace>>> = const { Cell::new(None) };
}

impl<T: Element, W: Weigh> Operation for Weighed<'_, T, W> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { task: PieceTask { x, packed, piece, next, rows, sums, .. }, weigh } = self;
        let mut padded = Padded::new();
        let mut workspace = KEPT.take().unwrap_or_default();
        let Workspace { scales, left, kept, panels, totals } = &mut *workspace;
        scales.resize(piece.width(), Aligned([0.0; STRIP_COLUMNS]));
        left.resize(rows, Aligned([0.0; RUN]));
        let in_integers =
            W::TAKEN == 0 && rows <= simd.integer_rows() && packed.strips() >= integers::FEWEST_STRIPS;
        let longest = match rows {
            _ if in_integers => packed.run(EXACT_ROWS),
            ..=UNPACKING => packed.run(RUN / 2),
            _ => RUN,
        };
        if in_integers {
            totals.clear();
            totals.resize(sums.len(), Aligned([0.0; STRIP_COLUMNS]));
        }
        let paneled = is_paneled::<S, W>(rows);
        if paneled {
            panels.resize(RUN * PANELS, Aligned([0.0; PANEL]));
        } else {
            kept.resize(RUN, [Lanes([0; STRIP_WORDS]); 2]);
        }
        for segment in packed.segments(piece.weight_rows(), longest) {
            for (x, to) in x.chunks_exact(packed.in_features()).zip(&mut *left) {
                T::widen(simd, &x[segment.first..][..segment.count], &mut to.0[..segment.count]);
            }
            if segment.begins {
                for (strip, scales) in (piece.strips[0]..).zip(&mut *scales) {
                    *scales = simd.by_nibble(&packed.scale_strip(simd, segment.group, packed.strip(strip)));
                }
            }
            let ahead = Ahead::new(packed, piece, next, segment);
            let strips = strips(packed, piece, segment, &mut padded);
            let run = RunTask { weigh, segment, strips, scales, left, kept, rows, sums, ahead };
            if in_integers && integers::add(simd, &run, totals) {
                // The totals have them.
            } else if paneled {
                simd.vectorize(Paneled { run, panels });
            } else {
                run.add_whole(simd);
            }
            if segment.ends {
                if in_integers {
                    simd.vectorize_integers(integers::Scale { scales, rows, totals, sums });
                }
                for strip in piece.strips[0]..piece.strips[1] {
                    packed.prefetch_group(simd, segment.group + 1, packed.strip(strip));
                }
            }
        }
        KEPT.set(Some(workspace));
    }
}

/// A run in all strips.
pub(super) struct RunTask<'a, W> {
    pub(super) weigh: W,
    pub(super) segment: Segment,
    pub(super) strips: [Strips<'a>; 2],
    /// Of each strip, by nibble.
    pub(super) scales: &'a [Sums],
    pub(super) left: &'a [Aligned<RUN>],
    kept: &'a mut [Kept],
    pub(super) rows: usize,
    pub(super) sums: &'a mut [Sums],
    pub(super) ahead: Ahead<'a>,
}

impl<W: Weigh> RunTask<'_, W> {
    /// Adds the products, up to [`WHOLE`] rows.
    #[inline(always)]
    fn add_whole<S: Simd>(self, simd: S) {
        match (self.rows, S::REGISTERS) {
            (1, 16) if W::TAKEN > 0 => self.add::<S, 1, 2>(simd),
            (1, _) => self.add::<S, 1, 4>(simd),
            (2, 32) => self.add::<S, 2, 4>(simd),
            (3, 32) => self.add::<S, 3, 4>(simd),
            (4, 32) => self.add::<S, 4, 4>(simd),
            (2, _) => self.add::<S, 2, 2>(simd),
            (3, _) => self.add::<S, 3, 2>(simd),
            (4, _) => self.add::<S, 4, 2>(simd),
            (5, _) => self.add::<S, 5, 2>(simd),
            (6, 16) if W::TAKEN > 0 => self.add::<S, 6, 1>(simd),
            (6, _) => self.add::<S, 6, 2>(simd),
            (7, 16) => self.add::<S, 7, 1>(simd),
            (7, _) => self.add::<S, 7, 2>(simd),
            (_, 16) => self.add::<S, 8, 1>(simd),
            _ => self.add::<S, 8, 2>(simd),
        }
    }

    /// Adds the products of its `R` rows, `V` nibbles at a time; compiled by itself, so that few things compete for registers.
    #[inline(always)]
    fn add<S: Simd, const R: usize, const V: usize>(self, simd: S) {
        simd.vectorize(Whole::<W, R, V>(self));
    }
}

/// A run in all strips, all rows at once.
struct Whole<'a, W, const R: usize, const V: usize>(RunTask<'a, W>);

impl<W: Weigh, const R: usize, const V: usize> Operation for Whole<'_, W, R, V> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let RunTask { weigh, segment, strips, scales, left, kept, rows, sums, mut ahead } = self.0;
        let mut of_strips = sums.chunks_exact_mut(rows).zip(scales);
        for Strips { rows, zeros, words: [start, end] } in strips {
            for (word, (sums, scales)) in (start..end).step_by(STRIP_WORDS).zip(of_strips.by_ref()) {
                let (words, zeros) = (rows.strip(word), &zeros[word..]);
                Run { weigh, words, zeros, scales, left, sums, kept }.add::<S, R, V>(simd, &mut ahead);
                ahead.turn(simd, segment.count);
            }
        }
    }
}
