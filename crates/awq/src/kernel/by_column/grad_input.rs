//! `grad_x [M, I] = grad_y [M, O] * W^T [O, I]`: a task owns a chunk of weight rows and walks along all columns, strip by strip.

use std::cell::Cell;

use super::group::Group;
use super::{PASS, strips};
use crate::kernel::element::Element;
use crate::kernel::isa::Isa;
use crate::kernel::output::Tiles;
use crate::kernel::packed::{
    BLOCK_ROWS, NIBBLE_COLUMN, Packed, STRIP_COLUMNS, STRIP_WORDS, Segment, Strip, WORD_COLUMNS,
};
use crate::kernel::parallel::ParallelFor;
use crate::kernel::parts::Sums;
use crate::kernel::simd::{Aligned, Operation, Simd, dispatch};
use crate::kernel::weigh::{Rounded, Split, Weigh};

/// The most weight rows of a task.
const CHUNK: usize = 512;

/// Right for any `I` and `O` above zero, and `M` up to [`PASS`].
pub(crate) fn grad_input<T: Element>(
    grad_y: &[T],
    packed: &Packed<'_>,
    grad_x: &mut [T],
    pool: &dyn ParallelFor,
    isa: Isa,
) {
    let inner = packed.in_features();
    let rows = grad_x.len() / inner;
    let chunk = inner.div_ceil(pool.threads()).next_multiple_of(BLOCK_ROWS).min(CHUNK);
    let tiles = Tiles::new(grad_x, inner, rows, chunk);
    pool.run(tiles.len(), &|task| {
        dispatch(isa, ChunkTask { grad_y, packed, first: task * chunk, grad_x: tiles.take(task) });
    });
}

struct ChunkTask<'a, T> {
    grad_y: &'a [T],
    packed: &'a Packed<'a>,
    first: usize,
    grad_x: Vec<&'a mut [T]>,
}

/// What a task needs beside its operands, kept from task to task.
struct Workspace {
    sums: [Aligned<CHUNK>; PASS],
    left: [Sums; PASS],
    group: Group,
}

thread_local! {
    static KEPT: Cell<Option<Box<Workspace>>> = const { Cell::new(None) };
}

impl<T: Element> Operation for ChunkTask<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { grad_y, packed, first, grad_x } = self;
        let rows = grad_x.len();
        let count = grad_x.first().map_or(0, |row| row.len());
        let mut workspace = KEPT.take().unwrap_or_else(|| {
            Box::new(Workspace {
                sums: [Aligned([0.0; CHUNK]); PASS],
                left: [Aligned([0.0; STRIP_COLUMNS]); PASS],
                group: Group::new(),
            })
        });
        let Workspace { sums, left, group } = &mut *workspace;
        let sums = &mut sums[..rows];
        sums.fill(Aligned([0.0; CHUNK]));
        for strip in strips(0, packed.row_words()) {
            for (from, to) in grad_y.chunks_exact(packed.out_features()).zip(&mut *left) {
                T::widen(simd, &from[strip.column()..][..strip.columns()], &mut to.0[..strip.columns()]);
            }
            for segment in packed.segments(first..first + count, count) {
                let left = &left[..rows];
                packed.prefetch_group(simd, segment.group, strip.next());
                let at = segment.first - first;
                let part = Part { packed, strip, segment, at, left, sums };
                if let Some(factor) = packed.split_factor_of_strip(segment.group, strip) {
                    part.add(simd, Split { factor }, group);
                } else {
                    part.add(simd, Rounded(packed.rounding()), group);
                }
            }
        }
        for (sums, grad_x) in sums.iter().zip(grad_x) {
            T::narrow(simd, &sums.0[..count], grad_x);
        }
        KEPT.set(Some(workspace));
    }
}

/// A strip of a part of a group.
struct Part<'a> {
    packed: &'a Packed<'a>,
    strip: Strip,
    segment: Segment,
    /// Where it begins in the chunk.
    at: usize,
    /// Of each row of the gradient.
    left: &'a [Sums],
    sums: &'a mut [Aligned<CHUNK>],
}

impl Part<'_> {
    #[inline(always)]
    fn add<S: Simd, W: Weigh>(self, simd: S, weigh: W, group: &mut Group) {
        group.read(simd, weigh, self.packed, self.segment, self.strip);
        let (group, part) = (&*group, self);
        match part.sums.len() {
            1 => simd.vectorize(Rows::<W, 1, 8> { weigh, group, part }),
            2 => simd.vectorize(Rows::<W, 2, 8> { weigh, group, part }),
            3 => simd.vectorize(Rows::<W, 3, 4> { weigh, group, part }),
            4 => simd.vectorize(Rows::<W, 4, 4> { weigh, group, part }),
            5 => simd.vectorize(Rows::<W, 5, 4> { weigh, group, part }),
            6 => simd.vectorize(Rows::<W, 6, 2> { weigh, group, part }),
            7 => simd.vectorize(Rows::<W, 7, 2> { weigh, group, part }),
            _ => simd.vectorize(Rows::<W, 8, 2> { weigh, group, part }),
        }
    }
}

/// All rows of a part, `V` vectors of them and `R` rows of the gradient at a time.
struct Rows<'a, W, const R: usize, const V: usize> {
    weigh: W,
    group: &'a Group,
    part: Part<'a>,
}

impl<W: Weigh, const R: usize, const V: usize> Operation for Rows<'_, W, R, V> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let vectors = self.part.segment.count / S::LANES;
        let whole = vectors / V * V;
        for vector in (0..whole).step_by(V) {
            self.vectors::<S, V>(simd, vector * S::LANES);
        }
        // A block is of two vectors or four.
        for vector in (whole..vectors).step_by(2) {
            self.vectors::<S, 2>(simd, vector * S::LANES);
        }
    }
}

impl<W: Weigh, const R: usize, const V: usize> Rows<'_, W, R, V> {
    /// `N` vectors of rows from `row` on.
    #[inline(always)]
    fn vectors<S: Simd, const N: usize>(&mut self, simd: S, row: usize) {
        let Part { packed, strip, segment, at, left, sums } = &mut self.part;
        let Some(left) = left.first_chunk::<R>() else { return };
        let Some(sums) = sums.first_chunk_mut::<R>() else { return };
        let first = segment.first + row;
        let mut totals = [[simd.splat(0.0); N]; R];
        for word in 0..strip.words.min(STRIP_WORDS) {
            let words = packed.column(strip.word + word, first..first + N * S::LANES);
            let next = packed.place(first, strip.word + word + STRIP_WORDS);
            let of = self.group.word(word);
            let mut codes = [simd.zero_words(); N];
            for (n, codes) in codes.iter_mut().enumerate() {
                *codes = simd.words(&words[n * S::LANES..]);
                simd.prefetch(packed.words(), next + n * S::LANES);
            }
            for column in NIBBLE_COLUMN {
                let table = of.table(simd, self.weigh, column);
                for n in 0..N {
                    let weights = simd.lookup(&table, codes[n]);
                    codes[n] = simd.next(codes[n]);
                    for r in 0..R {
                        let left = simd.splat(left[r].0[word * WORD_COLUMNS + column]);
                        totals[r][n] = simd.mul_add(left, weights, totals[r][n]);
                    }
                }
            }
        }
        for (totals, sums) in totals.iter().zip(sums) {
            for (n, total) in totals.iter().enumerate() {
                let sum = &mut sums.0[*at + row + n * S::LANES..];
                simd.store(simd.add(simd.load(sum), *total), sum);
            }
        }
    }
}
