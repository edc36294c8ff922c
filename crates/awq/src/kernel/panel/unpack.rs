//! Panels of a full strip of some weight rows, by nibble: the words as they are show sixteen columns side by side.

use super::PANEL;
use crate::kernel::ahead::Fetch;
use crate::kernel::packed::{STRIP_COLUMNS, STRIP_WORDS};
use crate::kernel::parts::Sums;
use crate::kernel::simd::{Aligned, Arithmetic, PLACES, Simd, StripRows};
use crate::kernel::weigh::Weigh;

/// Panels of a strip.
pub(crate) const PANELS: usize = STRIP_COLUMNS / PANEL;

/// Half of a word's nibbles, those of two panels.
const HALF: usize = PLACES.len();

/// Nibbles in a panel.
const NIBBLES: usize = PANEL / STRIP_WORDS;

/// Some rows of one group.
pub(crate) struct Unpack<'a> {
    pub(crate) words: StripRows<'a>,
    pub(crate) zeros: &'a [i32],
    /// By nibble.
    pub(crate) scales: &'a Sums,
    /// Their first step in the panels.
    pub(crate) step: usize,
}

impl Unpack<'_> {
    /// Writes their part of all `PANELS`, each of `panels.len() / PANELS` steps; asks for a line for each of them.
    #[inline(always)]
    pub(crate) fn run<A: Arithmetic, W: Weigh, F: Fetch>(
        &self,
        arithmetic: A,
        weigh: W,
        ahead: &mut F,
        panels: &mut [Aligned<PANEL>],
    ) {
        let (lower, upper) = panels.split_at_mut(panels.len() / 2);
        for word in (0..STRIP_WORDS).step_by(A::S::LANES) {
            self.half::<A, W, F, 0>(arithmetic, weigh, word, ahead, lower);
            self.half::<A, W, F, HALF>(arithmetic, weigh, word, ahead, upper);
        }
    }

    /// The nibbles from `FIRST` on, a constant, of a vector of words.
    #[inline(always)]
    fn half<A: Arithmetic, W: Weigh, F: Fetch, const FIRST: usize>(
        &self,
        arithmetic: A,
        weigh: W,
        word: usize,
        ahead: &mut F,
        panels: &mut [Aligned<PANEL>],
    ) {
        let simd = arithmetic.simd();
        let mut zeros = [simd.splat(0.0); HALF];
        let mut prepared = [[simd.splat(0.0); 2]; HALF];
        let words = simd.words(&self.zeros[word..]);
        for (n, (zeros, prepared)) in zeros.iter_mut().zip(&mut prepared).enumerate() {
            *zeros = simd.codes_in_half(words, FIRST + n);
            let scales = simd.load(&self.scales.0[(FIRST + n) * STRIP_WORDS + word..]);
            *prepared = weigh.prepared(simd, scales, PLACES[n]);
        }
        let steps = if A::TERMS == 2 { self.words.pairs() } else { self.words.count() };
        let (first, second) = panels.split_at_mut(panels.len() / 2);
        let first = &mut first[self.step..][..steps];
        let second = &mut second[self.step..][..steps];
        for (index, (first, second)) in first.iter_mut().zip(second).enumerate() {
            let [row, below] =
                if A::TERMS == 2 { self.words.pair(index) } else { [self.words.row(index); 2] };
            let [row, below] = [row, below].map(|row| simd.words(&row[word..]));
            if FIRST == 0 && word == 0 {
                for _ in 0..A::TERMS {
                    ahead.fetch(simd);
                }
            }
            for n in 0..HALF {
                let to = if n < NIBBLES { &mut first.0 } else { &mut second.0 };
                let to = &mut to[n % NIBBLES * STRIP_WORDS + word..];
                let codes = simd.codes_in_half(row, FIRST + n);
                let weights = weigh.weights(simd, simd.sub(codes, zeros[n]), prepared[n]);
                if A::TERMS == 1 {
                    arithmetic.place(weights, 0, to);
                } else {
                    let codes = simd.codes_in_half(below, FIRST + n);
                    let others = weigh.weights(simd, simd.sub(codes, zeros[n]), prepared[n]);
                    arithmetic.place_pair(weights, others, to);
                }
            }
        }
    }
}
