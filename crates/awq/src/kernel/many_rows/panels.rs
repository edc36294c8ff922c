//! Panels of the right-hand matrix: `[STEPS, PANEL]`, unpacked from the weight or its transpose.

use std::ops::Range;

use super::nibbles::unpack;
use super::{COLUMNS, DEPTH, STEPS, UNPACKED};
use crate::kernel::packed::{Packed, STRIP_COLUMNS, STRIP_WORDS, Strip, WORD_COLUMNS};
use crate::kernel::panel::PANEL;
use crate::kernel::simd::{Aligned, Arithmetic, Job, Simd};
use crate::kernel::weights::{Columns, Tables, transpose};

/// Which way round the weight stands.
#[derive(Debug, Clone, Copy)]
pub(super) enum Weight<'a> {
    /// `W [I, O]`.
    Forward(&'a Packed<'a>),
    /// `W^T [O, I]`.
    Transposed(&'a Packed<'a>),
}

impl Weight<'_> {
    /// `K`.
    pub(super) fn depth(&self) -> usize {
        match self {
            Self::Forward(packed) => packed.in_features(),
            Self::Transposed(packed) => packed.out_features(),
        }
    }

    /// The order of the columns from `column` on, a multiple of `UNPACKED`: they are unpacked fastest by nibble, which takes
    /// full strips, and groups that fill steps.
    pub(super) fn order_at<A: Arithmetic>(&self, _: A, column: usize) -> Order {
        match self {
            Self::Forward(packed)
                if column + UNPACKED <= packed.out_features()
                    && packed.group_size().is_multiple_of(A::TERMS) =>
            {
                Order::Nibbles
            }
            _ => Order::Columns,
        }
    }

    /// How far behind each word of the block of rows from `first` and columns from `column` on lies the word of the block
    /// that comes next in a task of `width` columns, or presumably in the next task; none forward, where runs fetch each other.
    pub(super) fn ahead<A: Arithmetic>(&self, _: A, first: usize, column: usize, width: usize) -> usize {
        let Self::Transposed(packed) = self else { return 0 };
        let row_words = packed.row_words();
        let start = column * row_words + first / WORD_COLUMNS;
        let next = if column + UNPACKED < width {
            start + UNPACKED * row_words
        } else if first + STEPS * A::TERMS < packed.out_features() {
            (first + STEPS * A::TERMS) / WORD_COLUMNS
        } else {
            COLUMNS * row_words
        };
        next.wrapping_sub(start)
    }

    /// `N`.
    pub(super) fn columns(&self) -> usize {
        match self {
            Self::Forward(packed) => packed.out_features(),
            Self::Transposed(packed) => packed.in_features(),
        }
    }
}

/// The order in which a strip's columns stand in panels, and in sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Their own.
    Columns,
    /// By nibble.
    Nibbles,
}

/// Unpacks rows `first ..+ count` and columns `column ..+ width` of the matrix; `first` is a multiple of `STEPS`,
/// `column` of `UNPACKED`. Beyond `width`, panels hold numbers without meaning.
pub(super) struct Fill<'a> {
    pub(super) weight: &'a Weight<'a>,
    pub(super) first: usize,
    pub(super) count: usize,
    pub(super) column: usize,
    pub(super) width: usize,
    /// See [`Weight::ahead`].
    pub(super) ahead: usize,
    pub(super) tables: &'a mut [Tables; DEPTH / UNPACKED],
    pub(super) panels: &'a mut [Aligned<PANEL>],
}

impl Job for Fill<'_> {
    #[inline(always)]
    fn run<A: Arithmetic>(self, arithmetic: A) {
        match self.weight {
            Weight::Forward(packed) => self.forward(arithmetic, packed),
            Weight::Transposed(packed) => self.transposed(arithmetic, packed),
        }
    }
}

impl Fill<'_> {
    #[inline(always)]
    fn forward<A: Arithmetic>(self, arithmetic: A, packed: &Packed<'_>) {
        let simd = arithmetic.simd();
        let strip = packed.strip(self.column / STRIP_COLUMNS);
        if self.weight.order_at(arithmetic, self.column) == Order::Nibbles {
            return unpack(arithmetic, packed, strip, self.first..self.first + self.count, self.panels);
        }
        for segment in packed.segments(self.first..self.first + self.count, DEPTH) {
            let columns = Columns::new(simd, packed, segment.group, strip);
            let end = segment.first + segment.count;
            let mut row = segment.first;
            while row < end {
                let (step, term) = ((row - self.first) / A::TERMS, (row - self.first) % A::TERMS);
                let pair = A::TERMS == 2 && term == 0 && row + 1 < end;
                let words = packed.code_strip(row, strip);
                let next = if pair { packed.code_strip(row + 1, strip) } else { words };
                for (index, panel) in self.panels.chunks_exact_mut(STEPS).enumerate() {
                    let to = &mut panel[step].0;
                    for at in (0..PANEL).step_by(A::S::LANES) {
                        let to = &mut to[at..];
                        let column = index * PANEL + at;
                        let weights = columns.weights(simd, &words, column);
                        if pair {
                            arithmetic.place_pair(weights, columns.weights(simd, &next, column), to);
                        } else {
                            arithmetic.place(weights, term, to);
                        }
                    }
                }
                row += 1 + usize::from(pair);
            }
        }
    }

    #[inline(always)]
    fn transposed<A: Arithmetic>(self, arithmetic: A, packed: &Packed<'_>) {
        let strips = self.count.div_ceil(STRIP_COLUMNS);
        for (index, tables) in self.tables.iter_mut().enumerate().take(strips) {
            let strip = packed.strip(self.first / STRIP_COLUMNS + index);
            let steps =
                index * STRIP_COLUMNS / A::TERMS..(index * STRIP_COLUMNS + strip.columns()) / A::TERMS;
            for (index, panel) in self.panels.chunks_exact_mut(STEPS).enumerate() {
                let start = index * PANEL;
                if start >= self.width {
                    break;
                }
                let rows = self.column + start..self.column + self.width.min(start + PANEL);
                transposed_panel(
                    arithmetic,
                    packed,
                    strip,
                    rows,
                    self.ahead,
                    tables,
                    &mut panel[steps.clone()],
                );
            }
        }
    }
}

/// Term `column` of `panel`, lane `row`: `W[rows.start + row, strip.column() + column]`, for at most `PANEL` rows. Meanwhile
/// fetches the words that lie `ahead` of these.
#[inline(always)]
pub(crate) fn transposed_panel<A: Arithmetic>(
    arithmetic: A,
    packed: &Packed<'_>,
    strip: Strip,
    rows: Range<usize>,
    ahead: usize,
    tables: &mut Tables,
    panel: &mut [Aligned<PANEL>],
) {
    let simd = arithmetic.simd();
    let lanes = A::S::LANES;
    let first = rows.start;
    for segment in packed.segments(rows, PANEL) {
        let at = segment.first - first;
        let whole = segment.count / lanes * lanes;
        if whole > 0 {
            tables.build(arithmetic, packed, segment.group, strip);
        }
        for row in (0..whole).step_by(lanes) {
            let start = (segment.first + row) * packed.row_words() + strip.word;
            for lane in 0..lanes {
                simd.prefetch(packed.words(), (start + lane * packed.row_words()).wrapping_add(ahead));
            }
            let mut words = [simd.zero_words(); STRIP_WORDS];
            transpose(simd, packed, segment.first + row, strip, &mut words);
            for (word, panel) in panel.chunks_exact_mut(WORD_COLUMNS / A::TERMS).enumerate().take(STRIP_WORDS)
            {
                arithmetic.look_up(tables.word(word), words[word], panel, at + row);
            }
        }
        if whole < segment.count {
            let columns = Columns::new(simd, packed, segment.group, strip);
            for row in whole..segment.count {
                let weights = columns.row(simd, &packed.code_strip(segment.first + row, strip));
                for (to, weights) in panel.iter_mut().zip(weights.0.chunks_exact(A::TERMS)) {
                    for (term, weight) in weights.iter().enumerate() {
                        arithmetic.place_one(*weight, term, &mut to.0[at + row]);
                    }
                }
            }
        }
    }
}
