//! One block of weight rows in one strip of columns, for all rows of a pass of the forward product.
//!
//! Columns are summed a few at a time over all vectors of the block, so that sums stay in registers meanwhile.

use std::ops::Range;

use super::workspace::Workspace;
use crate::kernel::packed::{
    NIBBLE_COLUMN, Packed, STRIP_COLUMNS, STRIP_WORDS, Segment, Strip, WORD_COLUMNS,
};
use crate::kernel::simd::{Operation, Simd};
use crate::kernel::weights::Columns;

/// The most weight rows of a block.
pub(super) const BLOCK: usize = 512;

/// The most groups that a block touches.
pub(super) const SEGMENTS: usize = 8;

/// The most weight rows of a span: so often is the next block fetched.
const SPAN: usize = 128;

/// The most spans of a block: groups are cut, and long ones again.
const SPANS: usize = SEGMENTS + BLOCK / SPAN;

/// Where the block from row `first` on ends.
pub(super) fn block_end(packed: &Packed<'_>, first: usize) -> usize {
    let group_size = packed.group_size();
    (first + BLOCK).min((first / group_size + SEGMENTS) * group_size)
}

/// Adds the products of some rows of the weight to `workspace.sums`; the activations are in `workspace.left`.
pub(super) struct Block<'a> {
    pub(super) packed: &'a Packed<'a>,
    pub(super) strip: Strip,
    pub(super) weight_rows: Range<usize>,
    pub(super) rows: usize,
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
        let mut spans = [Span::default(); SPANS];
        let first_group = self.weight_rows.start / self.packed.group_size();
        let mut first = 0;
        let segments = self.packed.segments(self.weight_rows.clone(), SPAN);
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
        // How many columns to sum at once: as many as the registers hold.
        match (self.rows, S::REGISTERS) {
            (1, 32) => self.vectors::<S, 1, 8>(simd, &spans),
            (3, 32) => self.vectors::<S, 3, 4>(simd, &spans),
            (4, 32) => self.vectors::<S, 4, 4>(simd, &spans),
            (5, 32) => self.vectors::<S, 5, 2>(simd, &spans),
            (6, 32) => self.vectors::<S, 6, 2>(simd, &spans),
            (7, 32) => self.vectors::<S, 7, 2>(simd, &spans),
            (8.., 32) => self.vectors::<S, 8, 2>(simd, &spans),
            (1, _) => self.vectors::<S, 1, 4>(simd, &spans),
            (2, _) => self.vectors::<S, 2, 4>(simd, &spans),
            (3, _) => self.vectors::<S, 3, 2>(simd, &spans),
            _ => self.vectors::<S, 4, 2>(simd, &spans),
        }
    }
}

impl Block<'_> {
    /// The rows that fill vectors, `AT_ONCE` columns and `ROWS` rows of `x` at a time.
    #[inline(always)]
    fn vectors<S: Simd, const ROWS: usize, const AT_ONCE: usize>(&mut self, simd: S, spans: &[Span]) {
        let Workspace { tables, turned, left, sums, .. } = &mut *self.workspace;
        let Some(x) = left.first_chunk::<ROWS>() else { return };
        let steps = WORD_COLUMNS / AT_ONCE;
        let spans = &spans[..spans.iter().rposition(|span| span.count > 0).map_or(0, |last| last + 1)];
        if spans.is_empty() {
            return;
        }
        // The same rows of the next strip, a few in each span.
        let mut next = self
            .packed
            .codes_or_none(self.weight_rows.start, self.strip.word + STRIP_WORDS)
            .chunks(self.packed.row_words())
            .take(self.weight_rows.len());
        let fetched = self.weight_rows.len().div_ceil(self.strip.words * steps * spans.len());
        for index in 0..self.strip.words * steps {
            let (word, skipped) = (index / steps, index % steps * AT_ONCE);
            let vectors = turned.word(word);
            let mut totals = [[simd.splat(0.0); ROWS]; AT_ONCE];
            for span in spans {
                for words in next.by_ref().take(fetched) {
                    simd.prefetch(words);
                }
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
            for (column, totals) in totals.iter().enumerate() {
                let column = WORD_COLUMNS * word + NIBBLE_COLUMN[skipped + column];
                for (sums, total) in sums.iter_mut().zip(totals) {
                    sums.0[column] += simd.sum(*total);
                }
            }
        }
    }

    /// The rows of a segment from `start` on, with columns in the lanes.
    #[inline(always)]
    fn rest<S: Simd>(&mut self, simd: S, segment: Segment, start: usize) {
        if start == segment.count {
            return;
        }
        let Workspace { left, sums, .. } = &mut *self.workspace;
        let columns = Columns::new(simd, self.packed, segment.group, self.strip);
        for row in segment.first + start..segment.first + segment.count {
            let words = self.packed.code_strip(row, self.strip);
            for column in (0..STRIP_COLUMNS).step_by(S::LANES) {
                let weights = columns.weights(simd, &words, column);
                for (x, sums) in left.iter().zip(sums.iter_mut()).take(self.rows) {
                    let sum = &mut sums.0[column..];
                    let x = simd.splat(x.0[row - self.weight_rows.start]);
                    simd.store(simd.mul_add(x, weights, simd.load(sum)), sum);
                }
            }
        }
    }
}
