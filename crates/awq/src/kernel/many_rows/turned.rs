//! A full strip of some rows, turned to lie as it would in a weight that is [`Major::Row`](crate::kernel::packed::Major).

use super::nibbles::RUN;
use crate::kernel::packed::{Packed, STRIP_WORDS, Segment, Strip};
use crate::kernel::simd::{Rows, Simd, StripRows};

/// Memory for the strip at hand.
#[repr(align(64))]
pub(super) struct TurnedStrip([[i32; STRIP_WORDS]; RUN]);

impl TurnedStrip {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        Self([[0; STRIP_WORDS]; RUN])
    }

    /// The rows of `segment`, a multiple of sixteen, at most [`RUN`]; asks for the words that lie `ahead` of them in
    /// memory.
    #[inline(always)]
    pub(super) fn strip<S: Simd>(
        &mut self,
        simd: S,
        packed: &Packed<'_>,
        segment: Segment,
        strip: Strip,
        ahead: usize,
    ) -> StripRows<'_> {
        let rows = &mut self.0[..segment.count];
        for (block, rows) in rows.chunks_exact_mut(STRIP_WORDS).enumerate() {
            let first = segment.first + block * STRIP_WORDS;
            for word in strip.word..strip.word + STRIP_WORDS {
                simd.prefetch(packed.words(), packed.place(first, word).wrapping_add(ahead));
            }
            for word in (0..STRIP_WORDS).step_by(S::LANES) {
                let mut turned = [simd.zero_words(); STRIP_WORDS];
                let words = &packed.words()[packed.place(first, strip.word + word)..];
                simd.transpose(words, packed.in_features(), &mut turned);
                for (row, turned) in rows.iter_mut().zip(turned) {
                    simd.put_words(turned, &mut row[word..]);
                }
            }
        }
        Rows::new(rows.as_flattened(), STRIP_WORDS).strip(0)
    }
}
