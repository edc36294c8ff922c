//! Panels of a full strip of the weight, by nibble: the words as they are show sixteen columns side by side.

use std::ops::Range;

use super::{PANEL, STEPS};
use crate::kernel::packed::{Packed, STRIP_COLUMNS, STRIP_WORDS, Strip};
use crate::kernel::simd::{Aligned, Arithmetic, PLACES, Rows, Simd, StripRows};
use crate::kernel::weigh::{Rounded, Split, Weigh};

/// The most weight rows that are unpacked to one panel after the other.
const RUN: usize = 32;

/// Nibbles in a panel.
const NIBBLES: usize = PANEL / STRIP_WORDS;

/// Unpacks `rows` of the weight in a strip, from the first step of the panels on.
#[inline(always)]
pub(super) fn unpack<A: Arithmetic>(
    arithmetic: A,
    packed: &Packed<'_>,
    strip: Strip,
    rows: Range<usize>,
    panels: &mut [Aligned<PANEL>],
) {
    let simd = arithmetic.simd();
    let mut scales = Aligned([0.0; STRIP_COLUMNS]);
    let mut factor = None;
    let first = rows.start;
    for segment in packed.segments(rows, packed.run(RUN)) {
        if segment.begins {
            scales = simd.by_nibble(&packed.scale_strip(simd, segment.group, strip));
            factor = packed.split_factor_of_strip(segment.group, strip);
        }
        let run = Run {
            packed,
            words: Rows::new(packed.rows(segment), packed.row_words()).strip(strip.word),
            zeros: &packed.zeros(segment.group)[strip.word..],
            scales: &scales,
            next: (segment.first + segment.count) * packed.row_words() + strip.word,
            step: (segment.first - first) / A::TERMS,
        };
        match factor {
            Some(factor) => run.to_panels(arithmetic, Split { factor }, panels),
            None => run.to_panels(arithmetic, Rounded(packed.rounding()), panels),
        }
    }
}

/// Some rows of one group.
struct Run<'a> {
    packed: &'a Packed<'a>,
    words: StripRows<'a>,
    zeros: &'a [i32],
    /// By nibble.
    scales: &'a Aligned<STRIP_COLUMNS>,
    /// The first word of the row behind them.
    next: usize,
    /// Their first step in the panels.
    step: usize,
}

impl Run<'_> {
    #[inline(always)]
    fn to_panels<A: Arithmetic, W: Weigh>(&self, arithmetic: A, weigh: W, panels: &mut [Aligned<PANEL>]) {
        // One by one, so that every nibble is a constant.
        if A::S::LANES == STRIP_WORDS {
            self.to_panel::<A, W, 0, NIBBLES>(arithmetic, weigh, panels);
            self.to_panel::<A, W, 2, NIBBLES>(arithmetic, weigh, panels);
            self.to_panel::<A, W, 4, NIBBLES>(arithmetic, weigh, panels);
            self.to_panel::<A, W, 6, NIBBLES>(arithmetic, weigh, panels);
        } else {
            self.to_panel::<A, W, 0, { 2 * NIBBLES }>(arithmetic, weigh, panels);
            self.to_panel::<A, W, 2, { 2 * NIBBLES }>(arithmetic, weigh, panels);
            self.to_panel::<A, W, 4, { 2 * NIBBLES }>(arithmetic, weigh, panels);
            self.to_panel::<A, W, 6, { 2 * NIBBLES }>(arithmetic, weigh, panels);
        }
    }

    /// The nibbles from `FIRST` on, `V` vectors.
    #[inline(always)]
    fn to_panel<A: Arithmetic, W: Weigh, const FIRST: usize, const V: usize>(
        &self,
        arithmetic: A,
        weigh: W,
        panels: &mut [Aligned<PANEL>],
    ) {
        let simd = arithmetic.simd();
        let lanes = A::S::LANES;
        let mut zeros = [simd.splat(0.0); V];
        let mut prepared = [[simd.splat(0.0); 2]; V];
        for v in 0..V {
            let (nibble, word) = (FIRST + v * lanes / STRIP_WORDS, v * lanes % STRIP_WORDS);
            zeros[v] = simd.codes_in_half(simd.words(&self.zeros[word..]), nibble);
            let scales = simd.load(&self.scales.0[FIRST * STRIP_WORDS + v * lanes..]);
            prepared[v] = weigh.prepared(simd, scales, PLACES[nibble % PLACES.len()]);
        }
        let steps = if A::TERMS == 2 { self.words.pairs() } else { self.words.count() };
        let panel = &mut panels[FIRST / NIBBLES * STEPS + self.step..][..steps];
        let (words, row_words) = (self.packed.words(), self.packed.row_words());
        let mut next = self.next;
        for (index, to) in panel.iter_mut().enumerate() {
            if FIRST == 0 {
                for _ in 0..A::TERMS {
                    simd.prefetch(words, next);
                    next += row_words;
                }
            }
            let [first, last] =
                if A::TERMS == 2 { self.words.pair(index) } else { [self.words.row(index); 2] };
            for v in 0..V {
                let (nibble, word) = (FIRST + v * lanes / STRIP_WORDS, v * lanes % STRIP_WORDS);
                let difference = simd.sub(simd.codes_in_half(simd.words(&first[word..]), nibble), zeros[v]);
                let weights = weigh.weights(simd, difference, prepared[v]);
                let to = &mut to.0[v * lanes..];
                if A::TERMS == 1 {
                    arithmetic.place(weights, 0, to);
                } else {
                    let difference =
                        simd.sub(simd.codes_in_half(simd.words(&last[word..]), nibble), zeros[v]);
                    arithmetic.place_pair(weights, weigh.weights(simd, difference, prepared[v]), to);
                }
            }
        }
    }
}
