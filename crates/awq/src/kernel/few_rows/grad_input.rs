//! `grad_x [M, I] = grad_y [M, O] * W^T [O, I]` for small `M`: a task owns a chunk of weight rows and walks along
//! all columns.
//!
//! A row's sums are the lanes themselves; those of each strip of columns are summed apart, then added.

use super::GRADIENT_ROWS;
use super::workspace::{BLOCK, Workspace};
use crate::kernel::element::Element;
use crate::kernel::isa::Isa;
use crate::kernel::output::Tiles;
use crate::kernel::packed::{
    NIBBLE_COLUMN, Packed, STRIP_COLUMNS, STRIP_WORDS, Segment, Strip, WORD_COLUMNS,
};
use crate::kernel::parallel::ParallelFor;
use crate::kernel::simd::{Aligned, Operation, Simd, Single, dispatch};
use crate::kernel::weights::{Columns, Tables, Turned};

/// Weight rows of a task: as many as a strip has columns, so that they share buffers.
const CHUNK: usize = STRIP_COLUMNS;

/// Right for any `I` and `O` above zero, and `M` up to [`Simd::FEW_ROWS`].
pub(crate) fn grad_input<T: Element>(
    grad_y: &[T],
    packed: &Packed<'_>,
    grad_x: &mut [T],
    pool: &dyn ParallelFor,
    isa: Isa,
) {
    let rows = grad_x.len() / packed.in_features();
    let tiles = Tiles::new(grad_x, packed.in_features(), rows, CHUNK);
    pool.run(tiles.len(), &|task| {
        let first = tiles.position(task).1 * CHUNK;
        dispatch(isa, ChunkTask { grad_y, packed, first, grad_x: tiles.take(task) });
    });
}

struct ChunkTask<'a, T> {
    grad_y: &'a [T],
    packed: &'a Packed<'a>,
    first: usize,
    grad_x: Vec<&'a mut [T]>,
}

impl<T: Element> Operation for ChunkTask<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let out_features = self.packed.out_features();
        let rows = self.grad_x.len();
        assert!(rows <= S::FEW_ROWS, "as many rows as share a pass");
        let count = self.grad_x.first().map_or(0, |row| row.len());
        let mut workspace = Workspace::take();
        workspace.clear(rows);
        for strip in (0..self.packed.strips()).map(|index| self.packed.strip(index)) {
            let columns = strip.columns();
            for (from, to) in self.grad_y.chunks_exact(out_features).zip(&mut workspace.left) {
                T::widen(simd, &from[strip.column()..][..columns], &mut to.0[..columns]);
            }
            for segment in self.packed.segments(self.first..self.first + count, CHUNK) {
                let at = segment.first - self.first;
                let workspace = &mut *workspace;
                simd.vectorize(StripOfChunk { packed: self.packed, strip, segment, at, rows, workspace });
            }
        }
        for (sums, grad_x) in workspace.sums.iter().zip(self.grad_x) {
            T::narrow(simd, &sums.0[..count], grad_x);
        }
        workspace.put_back();
    }
}

/// One strip of columns of one segment of weight rows, for all rows.
struct StripOfChunk<'a> {
    packed: &'a Packed<'a>,
    strip: Strip,
    segment: Segment,
    /// Where the segment starts within the chunk.
    at: usize,
    rows: usize,
    workspace: &'a mut Workspace,
}

impl Operation for StripOfChunk<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let whole = self.segment.count / S::LANES * S::LANES;
        if whole > 0 {
            self.workspace.tables.build(Single(simd), self.packed, self.segment.group, self.strip);
            // How many vectors of rows to sum at once: as many as the registers hold, and as there are.
            match (self.rows, S::REGISTERS, whole / S::LANES) {
                (1, 32, 8..) => self.vectors::<S, 1, 8>(simd),
                (1, _, 4..) => self.vectors::<S, 1, 4>(simd),
                (1, ..) => self.vectors::<S, 1, 2>(simd),
                (2, _, 4..) => self.vectors::<S, 2, 4>(simd),
                (2, ..) => self.vectors::<S, 2, 2>(simd),
                (3, 32, 4..) => self.vectors::<S, 3, 4>(simd),
                (3, ..) => self.vectors::<S, 3, 2>(simd),
                (4, 32, 4..) => self.vectors::<S, 4, 4>(simd),
                (5, 32, _) => self.vectors::<S, 5, 2>(simd),
                (6, 32, _) => self.vectors::<S, 6, 2>(simd),
                (7, 32, _) => self.vectors::<S, 7, 2>(simd),
                (8.., 32, _) => self.vectors::<S, 8, 2>(simd),
                _ => self.vectors::<S, 4, 2>(simd),
            }
        }
        if whole < self.segment.count {
            self.rest(simd, whole);
        }
    }
}

impl StripOfChunk<'_> {
    /// The rows that fill vectors, `AT_ONCE` vectors and `ROWS` rows of `grad_y` at a time.
    #[inline(always)]
    fn vectors<S: Simd, const ROWS: usize, const AT_ONCE: usize>(&mut self, simd: S) {
        let Workspace { tables, turned, left, sums, .. } = &mut *self.workspace;
        // By nibble, with the rows side by side.
        let mut grad_y = [[[0.0; ROWS]; WORD_COLUMNS]; STRIP_WORDS];
        for (row, from) in left.iter().take(ROWS).enumerate() {
            for (from, to) in from.0.as_chunks::<WORD_COLUMNS>().0.iter().zip(&mut grad_y) {
                for (to, column) in to.iter_mut().zip(NIBBLE_COLUMN) {
                    to[row] = from[column];
                }
            }
        }
        let vectors = turned.turn(simd, self.packed, self.segment, self.strip, 0);
        let strip = StripOf { tables, turned, words: self.strip.words, grad_y: &grad_y };
        let whole = vectors / AT_ONCE * AT_ONCE;
        for first in (0..whole).step_by(AT_ONCE) {
            let row = self.segment.first + first * S::LANES;
            let next = self.packed.codes_or_none(row, self.strip.word + STRIP_WORDS);
            strip.fetch_and_sum::<S, AT_ONCE>(simd, first, (next, self.packed.row_words()), sums, self.at);
        }
        for first in whole..vectors {
            strip.fetch_and_sum::<S, 1>(simd, first, (&[], 0), sums, self.at);
        }
    }

    /// The rows from `start` on, with columns in the lanes.
    #[inline(always)]
    fn rest<S: Simd>(&mut self, simd: S, start: usize) {
        let Workspace { left, sums, .. } = &mut *self.workspace;
        let columns = Columns::new(simd, self.packed, self.segment.group, self.strip);
        for row in start..self.segment.count {
            let words = self.packed.code_strip(self.segment.first + row, self.strip);
            let weights = columns.row(simd, &words);
            for (grad_y, sums) in left.iter().zip(sums.iter_mut()).take(self.rows) {
                let mut total = simd.splat(0.0);
                // Whole words alone: beyond them lies an older strip's gradient.
                let mut tail = 0.0;
                let columns = self.strip.columns();
                let vectors = columns / S::LANES * S::LANES;
                for column in (0..vectors).step_by(S::LANES) {
                    let factor = simd.load(&grad_y.0[column..]);
                    total = simd.mul_add(factor, simd.load(&weights.0[column..]), total);
                }
                for column in vectors..columns {
                    tail += grad_y.0[column] * weights.0[column];
                }
                sums.0[self.at + row] += simd.sum(total) + tail;
            }
        }
    }
}

/// The factors of one strip, `ROWS` rows of `grad_y` by nibble.
struct StripOf<'a, const ROWS: usize> {
    tables: &'a Tables,
    turned: &'a Turned<{ BLOCK / 8 }>,
    words: usize,
    grad_y: &'a [[[f32; ROWS]; WORD_COLUMNS]; STRIP_WORDS],
}

impl<const ROWS: usize> StripOf<'_, ROWS> {
    /// Sums over the strip, for `AT_ONCE` vectors of weight rows from the `first` on; meanwhile fetches as many rows
    /// of the next words, which are given with their stride.
    #[inline(always)]
    fn fetch_and_sum<S: Simd, const AT_ONCE: usize>(
        &self,
        simd: S,
        first: usize,
        (next, stride): (&[i32], usize),
        sums: &mut [Aligned<STRIP_COLUMNS>; GRADIENT_ROWS],
        at: usize,
    ) {
        let fetched = AT_ONCE * S::LANES / STRIP_WORDS;
        let mut totals = [[simd.splat(0.0); AT_ONCE]; ROWS];
        for word in 0..self.words.min(STRIP_WORDS) {
            for row in word * fetched..(word + 1) * fetched {
                simd.prefetch(next, row * stride);
            }
            let Some(vectors) = self.turned.word(word)[first..].first_chunk::<AT_ONCE>() else { return };
            let mut codes = [simd.zero_words(); AT_ONCE];
            for vector in 0..AT_ONCE {
                codes[vector] = simd.load_words(&vectors[vector]);
            }
            for (table, grad_y) in self.tables.word(word).iter().zip(&self.grad_y[word]) {
                let mut weights = [simd.splat(0.0); AT_ONCE];
                for vector in 0..AT_ONCE {
                    weights[vector] = simd.lookup(table, codes[vector]);
                    codes[vector] = simd.next(codes[vector]);
                }
                for row in 0..ROWS {
                    let factor = simd.splat(grad_y[row]);
                    for vector in 0..AT_ONCE {
                        totals[row][vector] = simd.mul_add(factor, weights[vector], totals[row][vector]);
                    }
                }
            }
        }
        for (totals, sums) in totals.iter().zip(sums) {
            for (vector, total) in totals.iter().enumerate() {
                let sum = &mut sums.0[at + (first + vector) * S::LANES..];
                simd.store(simd.add(simd.load(sum), *total), sum);
            }
        }
    }
}
