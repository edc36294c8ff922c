//! What the weights of a group in a strip are made of.

use crate::kernel::packed::{BLOCK_ROWS, Packed, STRIP_COLUMNS, Segment, Strip, WORD_COLUMNS};
use crate::kernel::simd::{Aligned, Simd, Table};
use crate::kernel::weigh::Weigh;
use crate::kernel::weights::CODES;

/// Of each column.
pub(super) struct Group {
    /// Zero points, plus the offset that codes have.
    zeros: Aligned<STRIP_COLUMNS>,
    prepared: [Aligned<STRIP_COLUMNS>; 2],
    /// Blocks of rows.
    pub(super) blocks: usize,
}

impl Group {
    /// Of nothing.
    pub(super) fn new() -> Self {
        let none = Aligned([0.0; STRIP_COLUMNS]);
        Self { zeros: none, prepared: [none; 2], blocks: 0 }
    }

    /// Reads those of a part of a group.
    #[inline(always)]
    pub(super) fn read<S: Simd, W: Weigh>(
        &mut self,
        simd: S,
        weigh: W,
        packed: &Packed<'_>,
        segment: Segment,
        strip: Strip,
    ) {
        let Segment { group, count, .. } = segment;
        self.blocks = count / BLOCK_ROWS;
        let zeros = packed.zero_strip(group, strip);
        let scales = packed.scale_strip(simd, group, strip);
        for column in (0..STRIP_COLUMNS).step_by(S::LANES) {
            simd.store(simd.codes(&zeros, column), &mut self.zeros.0[column..]);
            let [one, other] = weigh.prepared(simd, simd.load(&scales.0[column..]), 1.0);
            simd.store(one, &mut self.prepared[0].0[column..]);
            simd.store(other, &mut self.prepared[1].0[column..]);
        }
    }

    /// The zero points, and what was prepared, of a word's columns.
    #[inline(always)]
    pub(super) fn word(&self, word: usize) -> OfWord<'_> {
        OfWord {
            zeros: &self.zeros.0.as_chunks().0[word],
            prepared: [&self.prepared[0].0.as_chunks().0[word], &self.prepared[1].0.as_chunks().0[word]],
        }
    }
}

/// Of a word's columns.
#[derive(Clone, Copy)]
pub(super) struct OfWord<'a> {
    zeros: &'a [f32; WORD_COLUMNS],
    prepared: [&'a [f32; WORD_COLUMNS]; 2],
}

impl OfWord<'_> {
    /// The weights that a column's sixteen codes stand for.
    #[inline(always)]
    pub(super) fn table<S: Simd, W: Weigh>(self, simd: S, weigh: W, column: usize) -> Table {
        let zero = simd.splat(self.zeros[column]);
        let prepared = [simd.splat(self.prepared[0][column]), simd.splat(self.prepared[1][column])];
        let mut table = Table([0.0; 16]);
        for at in (0..16).step_by(S::LANES) {
            let difference = simd.sub(simd.load(&CODES.0[at..]), zero);
            simd.store(weigh.weights(simd, difference, prepared), &mut table.0[at..]);
        }
        table
    }
}
