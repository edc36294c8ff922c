//! One block of weight rows in one strip of columns, for all rows of the forward product.
//!
//! Columns are summed a few at a time over all vectors of the block, so that sums stay in registers meanwhile.

use std::ops::Range;

use super::workspace::Workspace;
use crate::kernel::ahead::Ahead;
use crate::kernel::packed::{NIBBLE_COLUMN, Packed, STRIP_COLUMNS, Segment, Strip, WORD_COLUMNS};
use crate::kernel::parts::Sums;
use crate::kernel::simd::{Operation, Simd};
use crate::kernel::weights::Columns;

/// The most weight rows of a block.
pub(super) const BLOCK: usize = 128;

/// The most groups that a block touches.
pub(super) const SEGMENTS: usize = 8;

/// Where the block from row `first` on ends.
pub(super) fn block_end(packed: &Packed<'_>, first: usize) -> usize {
    let group_size = packed.group_size();
    (first + BLOCK).min((first / group_size + SEGMENTS) * group_size)
}

/// Adds the products of some rows of the weight to `sums [M]`; the activations are in `workspace.left`.
pub(super) struct Block<'a> {
    pub(super) packed: &'a Packed<'a>,
    pub(super) strip: Strip,
    pub(super) weight_rows: Range<usize>,
    pub(super) sums: &'a mut [Sums],
    pub(super) ahead: Ahead<'a>,
    pub(super) workspace: &'a mut Workspace,
}

/// Vectors of one group within a block.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    /// Which tables are the group's.
    tables: usize,
    /// Of the turned words.
    first: usize,
    count: usize,
    /// Of the activations.
    at: usize,
}

impl Operation for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let mut spans = [Span::default(); SEGMENTS + 1];
        let first_group = self.weight_rows.start / self.packed.group_size();
        let mut first = 0;
        let segments = self.packed.segments(self.weight_rows.clone(), BLOCK);
        for (span, segment) in spans.iter_mut().zip(segments) {
            let at = segment.first - self.weight_rows.start;
            *span = Span { tables: segment.group - first_group, first, count: 0, at };
            if segment.count >= S::LANES {
                let Workspace { tables, turned, .. } = &mut *self.workspace;
                tables[span.tables].build(simd, self.packed, segment.group, self.strip);
                span.count = turned.turn(simd, self.packed, segment, self.strip, first);
                first += span.count;
            }
            self.rest(simd, segment, span.count * S::LANES);
        }
        let spans = &spans[..spans.iter().rposition(|span| span.count > 0).map_or(0, |last| last + 1)];
        if spans.is_empty() {
            return;
        }
        let mut row = 0;
        while row < self.sums.len() {
            let rows = S::FEW_ROWS.min(self.sums.len() - row);
            // How many columns to sum at once: as many as the registers hold.
            match (rows, S::REGISTERS) {
                (1, 32) => self.vectors::<S, 1, 8>(simd, row, spans),
                (2, 32) => self.vectors::<S, 2, 8>(simd, row, spans),
                (3, 32) => self.vectors::<S, 3, 4>(simd, row, spans),
                (4, 32) => self.vectors::<S, 4, 4>(simd, row, spans),
                (5, 32) => self.vectors::<S, 5, 4>(simd, row, spans),
                (6, 32) => self.vectors::<S, 6, 4>(simd, row, spans),
                (7, 32) => self.vectors::<S, 7, 2>(simd, row, spans),
                (8.., 32) => self.vectors::<S, 8, 2>(simd, row, spans),
                (1, _) => self.vectors::<S, 1, 4>(simd, row, spans),
                (2, _) => self.vectors::<S, 2, 4>(simd, row, spans),
                (3, _) => self.vectors::<S, 3, 2>(simd, row, spans),
                _ => self.vectors::<S, 4, 2>(simd, row, spans),
            }
            row += rows;
        }
    }
}

impl Block<'_> {
    /// The rows of the weight that fill vectors, for rows `row ..+ ROWS` of `x`, `AT_ONCE` columns at a time.
    #[inline(always)]
    fn vectors<S: Simd, const ROWS: usize, const AT_ONCE: usize>(
        &mut self,
        simd: S,
        row: usize,
        spans: &[Span],
    ) {
        let Workspace { tables, turned, left, .. } = &mut *self.workspace;
        let Some(x) = left[row..].first_chunk::<ROWS>() else { return };
        let Some(sums) = self.sums[row..].first_chunk_mut::<ROWS>() else { return };
        let steps = WORD_COLUMNS / AT_ONCE;
        // What is ahead is fetched with the first rows of `x`.
        let fetches =
            if row == 0 { (self.weight_rows.len() / 2).div_ceil(self.strip.words * steps) } else { 0 };
        for index in 0..self.strip.words * steps {
            let (word, skipped) = (index / steps, index % steps * AT_ONCE);
            for _ in 0..fetches {
                self.ahead.fetch(simd);
            }
            let vectors = turned.word(word);
            let mut totals = [[simd.splat(0.0); ROWS]; AT_ONCE];
            for span in spans {
                let tables = tables[span.tables].word(word);
                let Some(tables) = tables[skipped..].first_chunk::<AT_ONCE>() else { return };
                for (vector, words) in vectors[span.first..][..span.count].iter().enumerate() {
                    let at = span.at + vector * S::LANES;
                    let mut codes = simd.skip(simd.load_words(words), skipped);
                    let mut weights = [simd.splat(0.0); AT_ONCE];
                    for column in 0..AT_ONCE {
                        weights[column] = simd.lookup(&tables[column], codes);
                        codes = simd.next(codes);
                    }
                    for row in 0..ROWS {
                        let x = simd.load(&x[row].0[at..]);
                        for column in 0..AT_ONCE {
                            totals[column][row] = simd.mul_add(x, weights[column], totals[column][row]);
                        }
                    }
                }
            }
            let (fours, rest) = totals.as_flattened().as_chunks::<4>();
            let mut sum = |index: usize, sum: f32| {
                let column = WORD_COLUMNS * word + NIBBLE_COLUMN[skipped + index / ROWS];
                sums[index % ROWS].0[column] += sum;
            };
            for (index, four) in fours.iter().enumerate() {
                for (at, total) in simd.sums(*four).into_iter().enumerate() {
                    sum(4 * index + at, total);
                }
            }
            for (index, total) in rest.iter().enumerate() {
                sum(4 * fours.len() + index, simd.sum(*total));
            }
        }
    }

    /// The rows of a segment from `start` on, with columns in the lanes.
    #[inline(always)]
    fn rest<S: Simd>(&mut self, simd: S, segment: Segment, start: usize) {
        if start == segment.count {
            return;
        }
        let columns = Columns::new(simd, self.packed, segment.group, self.strip);
        for row in segment.first + start..segment.first + segment.count {
            let words = self.packed.code_strip(row, self.strip);
            for column in (0..STRIP_COLUMNS).step_by(S::LANES) {
                let weights = columns.weights(simd, &words, column);
                for (x, sums) in self.workspace.left.iter().zip(self.sums.iter_mut()) {
                    let sum = &mut sums.0[column..];
                    let x = simd.splat(x.0[row - self.weight_rows.start]);
                    simd.store(simd.mul_add(x, weights, simd.load(sum)), sum);
                }
            }
        }
    }
}
