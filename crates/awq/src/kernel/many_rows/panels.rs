//! Panels of the right-hand matrix: `[STEPS, PANEL]`, unpacked from the weight or its transpose.

use std::ops::Range;

use super::nibbles::unpack;
use super::{Block, DEPTH, UNPACKED};
use crate::kernel::packed::{Major, Packed, Rounding, STRIP_COLUMNS, STRIP_WORDS, Strip, WORD_COLUMNS};
use crate::kernel::panel::{PANEL, PANELS};
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
    /// Whether each weight is the sum of two finite numbers of bf16: those of f16 are.
    pub(super) fn has_two_terms(&self) -> bool {
        let (Self::Forward(packed) | Self::Transposed(packed)) = self;
        packed.rounding() == Rounding::F16
            && packed.weights_are_finite(0..packed.in_features() / packed.group_size())
    }

    /// `K`.
    pub(super) fn depth(&self) -> usize {
        match self {
            Self::Forward(packed) => packed.in_features(),
            Self::Transposed(packed) => packed.out_features(),
        }
    }

    /// The order of the columns from `column` on, a multiple of `UNPACKED`: they are unpacked fastest by nibble, which takes
    /// full strips, and groups that fill steps of so many terms.
    pub(super) fn order_at(&self, terms: usize, column: usize) -> Order {
        match self {
            Self::Forward(packed)
                if column + UNPACKED <= packed.out_features()
                    && packed.group_size().is_multiple_of(terms) =>
            {
                Order::Nibbles
            }
            _ => Order::Columns,
        }
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

/// Unpacks rows `first ..+ count` of the matrix in the columns of a block from `column` on; `first` is a multiple of the steps of
/// the panels, and of `UNPACKED`, as is `column`. Beyond the columns of the block, panels hold numbers without meaning.
pub(super) struct Fill<'a> {
    pub(super) block: Block<'a>,
    pub(super) first: usize,
    pub(super) count: usize,
    pub(super) column: usize,
    pub(super) tables: &'a mut [Tables; DEPTH / UNPACKED],
    /// `PANELS` of equal length.
    pub(super) panels: &'a mut [Aligned<PANEL>],
}

impl Job for Fill<'_> {
    #[inline(always)]
    fn run<A: Arithmetic>(self, arithmetic: A) {
        match self.block.weight {
            Weight::Forward(packed) => self.forward(arithmetic, packed),
            Weight::Transposed(packed) => self.transposed(arithmetic, packed),
        }
    }
}

impl Fill<'_> {
    /// Steps of a panel.
    fn steps(&self) -> usize {
        self.panels.len() / PANELS
    }

    /// How far behind each word of these rows and columns lies the word of those that come next in the task, or presumably in the
    /// next task, for the transposed weight; forward, runs fetch each other.
    fn ahead<A: Arithmetic>(&self, _: A, packed: &Packed<'_>) -> usize {
        let (column, next) = (self.column, self.first + self.steps() * A::TERMS);
        let start = packed.place(column, self.first / WORD_COLUMNS);
        let next = if column + UNPACKED < self.block.columns {
            packed.place(column + UNPACKED, self.first / WORD_COLUMNS)
        } else if next < packed.out_features() {
            packed.place(0, next / WORD_COLUMNS)
        } else {
            packed.place(self.block.width, 0)
        };
        next.wrapping_sub(start)
    }

    #[inline(always)]
    fn forward<A: Arithmetic>(self, arithmetic: A, packed: &Packed<'_>) {
        let simd = arithmetic.simd();
        let strip = packed.strip((self.block.column + self.column) / STRIP_COLUMNS);
        if self.block.weight.order_at(A::TERMS, self.block.column + self.column) == Order::Nibbles {
            return unpack(arithmetic, packed, strip, self.first..self.first + self.count, self.panels);
        }
        let steps = self.steps();
        for segment in packed.segments(self.first..self.first + self.count, DEPTH) {
            let columns = Columns::new(simd, packed, segment.group, strip);
            let end = segment.first + segment.count;
            let mut row = segment.first;
            while row < end {
                let (step, term) = ((row - self.first) / A::TERMS, (row - self.first) % A::TERMS);
                let pair = A::TERMS == 2 && term == 0 && row + 1 < end;
                let words = packed.code_strip(row, strip);
                let next = if pair { packed.code_strip(row + 1, strip) } else { words };
                for (index, panel) in self.panels.chunks_exact_mut(steps).enumerate() {
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
        let (ahead, of_panel) = (self.ahead(arithmetic, packed), self.steps());
        let (column, width) = (self.block.column + self.column, self.block.columns - self.column);
        for (index, tables) in self.tables.iter_mut().enumerate().take(strips) {
            let strip = packed.strip(self.first / STRIP_COLUMNS + index);
            let steps =
                index * STRIP_COLUMNS / A::TERMS..(index * STRIP_COLUMNS + strip.columns()) / A::TERMS;
            for (index, panel) in self.panels.chunks_exact_mut(of_panel).enumerate() {
                let start = index * PANEL;
                if start >= width {
                    break;
                }
                let rows = column + start..column + width.min(start + PANEL);
                transposed_panel(arithmetic, packed, strip, rows, ahead, tables, &mut panel[steps.clone()]);
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
            let mut words = [simd.zero_words(); STRIP_WORDS];
            match packed.major() {
                Major::Row => {
                    let start = (segment.first + row) * packed.row_words() + strip.word;
                    for lane in 0..lanes {
                        let next = (start + lane * packed.row_words()).wrapping_add(ahead);
                        simd.prefetch(packed.words(), next);
                    }
                    transpose(simd, packed, segment.first + row, strip, &mut words);
                }
                // They are turned already.
                Major::Column => {
                    let rows = segment.first + row..segment.first + row + lanes;
                    for (words, word) in words[..strip.words].iter_mut().zip(strip.word..) {
                        simd.prefetch(packed.words(), packed.place(rows.start, word).wrapping_add(ahead));
                        *words = simd.words(packed.column(word, rows.clone()));
                    }
                }
            }
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
