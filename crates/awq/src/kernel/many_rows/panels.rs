//! Panels of the right-hand matrix: `[STEPS, PANEL]`, unpacked from the weight or its transpose.

use std::ops::Range;

use super::nibbles::unpack;
use super::{DEPTH, PANEL, STEPS, UNPACKED};
use crate::kernel::packed::{Packed, STRIP_COLUMNS, STRIP_WORDS, Strip, WORD_COLUMNS};
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
                transposed_panel(arithmetic, packed, strip, rows, tables, &mut panel[steps.clone()]);
            }
        }
    }
}

/// Term `column` of `panel`, lane `row`: `W[rows.start + row, strip.column() + column]`, for at most `PANEL` rows.
#[inline(always)]
pub(crate) fn transposed_panel<A: Arithmetic>(
    arithmetic: A,
    packed: &Packed<'_>,
    strip: Strip,
    rows: Range<usize>,
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
            tables.build(simd, packed, segment.group, strip);
        }
        for row in (0..whole).step_by(lanes) {
            let mut words = [simd.zero_words(); STRIP_WORDS];
            transpose(simd, packed, segment.first + row, strip, &mut words);
            for (word, panel) in panel.chunks_exact_mut(WORD_COLUMNS / A::TERMS).enumerate().take(STRIP_WORDS)
            {
                // The lower nibbles hold the even columns, the upper ones their right neighbours.
                let (even_tables, odd_tables) = tables.word(word).split_at(WORD_COLUMNS / 2);
                let (mut even, mut odd) = (words[word], simd.skip(words[word], WORD_COLUMNS / 2));
                for (index, (even_table, odd_table)) in even_tables.iter().zip(odd_tables).enumerate() {
                    let first = simd.lookup(even_table, even);
                    let second = simd.lookup(odd_table, odd);
                    if A::TERMS == 2 {
                        arithmetic.place_pair(first, second, &mut panel[index].0[at + row..]);
                    } else {
                        arithmetic.place(first, 0, &mut panel[2 * index].0[at + row..]);
                        arithmetic.place(second, 0, &mut panel[2 * index + 1].0[at + row..]);
                    }
                    (even, odd) = (simd.next(even), simd.next(odd));
                }
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
