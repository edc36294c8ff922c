//! The strips of a run: full ones where they lie, and the last one of a row, if it is not full, padded.

use super::packed::{Packed, STRIP_WORDS, Segment};
use super::parts::Piece;
use super::simd::Rows;

/// The most weight rows in a run.
pub(crate) const LONGEST: usize = 64;

/// Strips side by side.
#[derive(Clone, Copy)]
pub(crate) struct Strips<'a> {
    pub(crate) rows: Rows<'a>,
    /// The zero points of their group.
    pub(crate) zeros: &'a [i32],
    /// The first word of the first strip, and the end of the last one.
    pub(crate) words: [usize; 2],
}

/// Memory for a strip that is not full.
pub(crate) struct Padded {
    rows: [[i32; STRIP_WORDS]; LONGEST],
    zeros: [i32; STRIP_WORDS],
}

impl Padded {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self { rows: [[0; STRIP_WORDS]; LONGEST], zeros: [0; STRIP_WORDS] }
    }
}

/// All strips of a piece in a run: the full ones, then the one that is not, if there is one.
#[inline(always)]
pub(crate) fn strips<'a>(
    packed: &'a Packed<'a>,
    piece: Piece,
    segment: Segment,
    padded: &'a mut Padded,
) -> [Strips<'a>; 2] {
    let Segment { group, first, count, .. } = segment;
    let [start, end] = piece.strips;
    let last = packed.strip(end - 1);
    let full = if last.words == STRIP_WORDS { end } else { end - 1 };
    if full < end {
        for (to, row) in padded.rows.iter_mut().zip(first..first + count) {
            *to = packed.code_strip(row, last);
        }
        padded.zeros = packed.zero_strip(group, last);
    }
    let rows = Rows::new(packed.rows(segment), packed.row_words());
    let padded_rows = Rows::new(padded.rows[..count].as_flattened(), STRIP_WORDS);
    [
        Strips { rows, zeros: packed.zeros(group), words: [start * STRIP_WORDS, full * STRIP_WORDS] },
        Strips { rows: padded_rows, zeros: &padded.zeros, words: [0, (end - full) * STRIP_WORDS] },
    ]
}
