//! A run of weight rows in one strip, for some rows of the forward product: columns in the lanes, some vectors of them at a
//! time, so that their sums stay in registers meanwhile.

use crate::kernel::ahead::{Ahead, Fetch};
use crate::kernel::packed::{STRIP_WORDS, WORD_COLUMNS};
use crate::kernel::parts::Sums;
use crate::kernel::simd::{Aligned, Lanes, PLACES, Simd, StripRows};
use crate::kernel::strips::LONGEST;
use crate::kernel::weigh::Weigh;

/// The most weight rows of a run.
pub(super) const RUN: usize = LONGEST;

/// A row's words of a strip, side by side with the next row's: in the weight they may lie a power of two apart, where they fall
/// out of a first-level cache before they are met again.
pub(super) type Kept = [Lanes; 2];

/// Up to so many rows of activations, unpacking is what takes the time; then words are not kept, and runs are short.
pub(super) const UNPACKING: usize = 2;

/// One strip of a run.
pub(super) struct Run<'a, W> {
    pub(super) weigh: W,
    pub(super) words: StripRows<'a>,
    /// The zero points of its group, and scales by nibble.
    pub(super) zeros: &'a [i32],
    pub(super) scales: &'a Sums,
    /// Activations that the run meets, of each row.
    pub(super) left: &'a [Aligned<RUN>],
    /// Of each row, by nibble.
    pub(super) sums: &'a mut [Sums],
    pub(super) kept: &'a mut [Kept],
}

/// Vectors of a strip: words from `word` on, nibbles from `nibble` on.
#[derive(Debug, Clone, Copy)]
struct Place {
    word: usize,
    nibble: usize,
}

/// Whether words were met before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Words {
    /// Not yet.
    New,
    /// In an earlier pass, and left where they are.
    Met,
    /// In an earlier pass, and kept side by side.
    Kept,
}

impl<W: Weigh> Run<'_, W> {
    /// Adds the products of `R` rows, `V` nibbles of a vector of words at a time.
    #[inline(always)]
    pub(super) fn add<S: Simd, const R: usize, const V: usize>(&mut self, simd: S, ahead: &mut Ahead<'_>) {
        for word in (0..STRIP_WORDS).step_by(S::LANES) {
            // One by one, so that every nibble and every kind of words is a constant.
            self.pass::<S, R, V>(simd, Place { word, nibble: 0 }, Words::New, ahead);
            self.further::<S, R, V>(simd, word, ahead);
        }
    }

    /// The passes behind the first.
    #[inline(always)]
    fn further<S: Simd, const R: usize, const V: usize>(
        &mut self,
        simd: S,
        word: usize,
        ahead: &mut Ahead<'_>,
    ) {
        let from = if R > UNPACKING { Words::Kept } else { Words::Met };
        let at = |nibble| Place { word, nibble };
        if V < WORD_COLUMNS {
            self.pass::<S, R, V>(simd, at(V), from, ahead);
        }
        if V < WORD_COLUMNS / 2 {
            self.pass::<S, R, V>(simd, at(2 * V), from, ahead);
            self.pass::<S, R, V>(simd, at(3 * V), from, ahead);
        }
        if V < WORD_COLUMNS / 4 {
            self.pass::<S, R, V>(simd, at(4 * V), from, ahead);
            self.pass::<S, R, V>(simd, at(5 * V), from, ahead);
            self.pass::<S, R, V>(simd, at(6 * V), from, ahead);
            self.pass::<S, R, V>(simd, at(7 * V), from, ahead);
        }
    }

    #[inline(always)]
    fn pass<S: Simd, const R: usize, const V: usize>(
        &mut self,
        simd: S,
        place: Place,
        from: Words,
        ahead: &mut Ahead<'_>,
    ) {
        let Place { word, nibble } = place;
        let left = self.left.first_chunk::<R>().expect("all rows are there");
        let sums = self.sums.first_chunk_mut::<R>().expect("all rows are there");
        let at = |v: usize| (nibble + v) * STRIP_WORDS + word;
        let mut zeros = [simd.splat(0.0); V];
        let mut prepared = [[simd.splat(0.0); 2]; V];
        let words = simd.words(&self.zeros[word..]);
        for (v, (zeros, prepared)) in zeros.iter_mut().zip(&mut prepared).enumerate() {
            *zeros = codes::<S, R>(simd, words, nibble + v);
            let scales = simd.load(&self.scales.0[at(v)..]);
            *prepared = self.weigh.prepared(simd, scales, place_of::<R>(nibble + v));
        }
        let mut totals = [[simd.splat(0.0); V]; R];
        for (index, kept) in self.kept[..self.words.count()].iter_mut().enumerate() {
            let kept = &mut kept[word / S::LANES];
            let words = if from == Words::Kept {
                simd.load_words(kept)
            } else {
                simd.words(&self.words.row(index)[word..])
            };
            if from == Words::New {
                if word == 0 {
                    ahead.fetch(simd);
                }
                if R > UNPACKING {
                    simd.store_words(words, kept);
                }
            }
            let mut weights = [simd.splat(0.0); V];
            for (v, weights) in weights.iter_mut().enumerate() {
                let codes = codes::<S, R>(simd, words, nibble + v);
                *weights = self.weigh.weights(simd, simd.sub(codes, zeros[v]), prepared[v]);
            }
            for (left, totals) in left.iter().zip(&mut totals) {
                let left = simd.splat(left.0[index]);
                for (weights, total) in weights.into_iter().zip(totals) {
                    *total = simd.mul_add(left, weights, *total);
                }
            }
        }
        for (totals, sums) in totals.iter().zip(sums) {
            for (v, total) in totals.iter().enumerate() {
                let sum = &mut sums.0[at(v)..];
                simd.store(self.weigh.add(simd, simd.load(sum), *total, prepared[v]), sum);
            }
        }
    }
}

/// A nibble's codes, times what it counts, plus an offset. Few rows leave registers for a mask for each nibble, and the codes
/// stay in place; with more, they are shifted.
#[inline(always)]
fn codes<S: Simd, const R: usize>(simd: S, words: S::U, nibble: usize) -> S::F {
    if R > UNPACKING {
        simd.codes_in_place(simd.skip(words, nibble), 0)
    } else {
        simd.codes_in_half(words, nibble)
    }
}

/// What a nibble counts.
fn place_of<const R: usize>(nibble: usize) -> f32 {
    if R > UNPACKING { 1.0 } else { PLACES[nibble % PLACES.len()] }
}
