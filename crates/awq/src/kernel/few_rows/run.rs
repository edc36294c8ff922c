//! A run of weight rows in one strip, for all rows of the forward product: columns in the lanes, some vectors of them at a
//! time, so that their sums stay in registers meanwhile.

use super::weigh::Weigh;
use crate::kernel::ahead::Ahead;
use crate::kernel::packed::{Packed, STRIP_COLUMNS, STRIP_WORDS, Segment, Strip, WORD_COLUMNS};
use crate::kernel::parts::Sums;
use crate::kernel::simd::{Aligned, Lanes, Simd};

/// The most weight rows of a run: a first-level cache holds about as many.
pub(super) const RUN: usize = 32;

/// A run's words, side by side: in the weight they lie a power of two apart, where they fall out of a first-level cache before
/// they are met again.
pub(super) type Kept = [[Lanes; 2]; RUN];

/// Adds the products of a run to `sums [M]`, which are by nibble.
pub(super) struct Run<'a, W> {
    pub(super) weigh: W,
    pub(super) packed: &'a Packed<'a>,
    pub(super) segment: Segment,
    pub(super) strip: Strip,
    pub(super) sums: &'a mut [Sums],
    /// Activations that the run meets, of each row.
    pub(super) left: &'a [[f32; RUN]],
    pub(super) kept: &'a mut Kept,
}

/// Zero points, plus the codes' offset, and scales of a strip in one group, by nibble.
struct Columns {
    zeros: Aligned<STRIP_COLUMNS>,
    scales: Aligned<STRIP_COLUMNS>,
}

impl Columns {
    #[inline(always)]
    fn read<S: Simd>(simd: S, packed: &Packed<'_>, group: usize, strip: Strip) -> Self {
        let words = packed.zero_strip(group, strip);
        let mut zeros = Aligned([0.0; STRIP_COLUMNS]);
        for first in (0..STRIP_WORDS).step_by(S::LANES) {
            let mut words = simd.words(&words[first..]);
            for zeros in zeros.0.chunks_exact_mut(STRIP_WORDS) {
                simd.store(simd.low_codes(words), &mut zeros[first..]);
                words = simd.next(words);
            }
        }
        Self { zeros, scales: simd.by_nibble(&packed.scale_strip(simd, group, strip)) }
    }
}

/// Where the words of a pass come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Words {
    /// The weight; they are kept, and what is ahead is fetched.
    New,
    /// An earlier pass.
    Kept,
}

/// One pass over a run: rows of activations from `row` on, words of the strip from `word` on, and nibbles from `nibble` on.
#[derive(Debug, Clone, Copy)]
struct Pass {
    row: usize,
    word: usize,
    nibble: usize,
}

impl<W: Weigh> Run<'_, W> {
    #[inline(always)]
    pub(super) fn add<S: Simd>(&mut self, simd: S, ahead: &mut Ahead<'_>) {
        let columns = Columns::read(simd, self.packed, self.segment.group, self.strip);
        if self.strip.words < STRIP_WORDS {
            self.keep_padded(simd, ahead);
        }
        let mut row = 0;
        while row < self.sums.len() {
            // As many vectors as the registers hold sums of.
            row += match (self.sums.len() - row, S::REGISTERS) {
                (1, 32) => self.rows::<S, 1, 4>(simd, &columns, row, ahead),
                (2, 32) => self.rows::<S, 2, 4>(simd, &columns, row, ahead),
                (3, 32) => self.rows::<S, 3, 4>(simd, &columns, row, ahead),
                (4, 32) => self.rows::<S, 4, 4>(simd, &columns, row, ahead),
                (5, 32) => self.rows::<S, 5, 4>(simd, &columns, row, ahead),
                (6, 32) => self.rows::<S, 6, 4>(simd, &columns, row, ahead),
                (7, 32) => self.rows::<S, 7, 2>(simd, &columns, row, ahead),
                (_, 32) => self.rows::<S, 8, 2>(simd, &columns, row, ahead),
                (1, _) => self.rows::<S, 1, 4>(simd, &columns, row, ahead),
                (2, _) => self.rows::<S, 2, 2>(simd, &columns, row, ahead),
                (3, _) => self.rows::<S, 3, 2>(simd, &columns, row, ahead),
                _ => self.rows::<S, 4, 2>(simd, &columns, row, ahead),
            };
        }
    }

    /// Keeps the words of a strip that does not fill its vectors.
    #[inline(always)]
    fn keep_padded<S: Simd>(&mut self, simd: S, ahead: &mut Ahead<'_>) {
        let rows = self.packed.rows(self.segment).chunks_exact(self.packed.row_words());
        for (words, kept) in rows.zip(self.kept.iter_mut()) {
            ahead.fetch(simd);
            let words = self.strip.pad(&words[self.strip.word..]);
            for (words, kept) in words.chunks_exact(S::LANES).zip(kept) {
                simd.store_words(simd.words(words), kept);
            }
        }
    }

    /// `R` rows from `row` on, `V` nibbles of a vector of words at a time; returns `R`.
    #[inline(always)]
    fn rows<S: Simd, const R: usize, const V: usize>(
        &mut self,
        simd: S,
        columns: &Columns,
        row: usize,
        ahead: &mut Ahead<'_>,
    ) -> usize {
        for word in (0..STRIP_WORDS).step_by(S::LANES) {
            // One by one, so that every shift is by a constant.
            if row == 0 && self.strip.words == STRIP_WORDS {
                self.pass::<S, R, V>(simd, columns, Pass { row, word, nibble: 0 }, Words::New, ahead);
            } else {
                self.pass::<S, R, V>(simd, columns, Pass { row, word, nibble: 0 }, Words::Kept, ahead);
            }
            if V < WORD_COLUMNS {
                self.pass::<S, R, V>(simd, columns, Pass { row, word, nibble: V }, Words::Kept, ahead);
            }
            if V < WORD_COLUMNS / 2 {
                self.pass::<S, R, V>(simd, columns, Pass { row, word, nibble: 2 * V }, Words::Kept, ahead);
                self.pass::<S, R, V>(simd, columns, Pass { row, word, nibble: 3 * V }, Words::Kept, ahead);
            }
        }
        R
    }

    #[inline(always)]
    fn pass<S: Simd, const R: usize, const V: usize>(
        &mut self,
        simd: S,
        columns: &Columns,
        pass: Pass,
        from: Words,
        ahead: &mut Ahead<'_>,
    ) {
        let Pass { row, word, nibble } = pass;
        let Some(left) = self.left[row..].first_chunk::<R>() else { return };
        let Some(sums) = self.sums[row..].first_chunk_mut::<R>() else { return };
        let at = |v: usize| (nibble + v) * STRIP_WORDS + word;
        let mut zeros = [simd.splat(0.0); V];
        let mut prepared = [[simd.splat(0.0); 2]; V];
        for (v, (zeros, prepared)) in zeros.iter_mut().zip(&mut prepared).enumerate() {
            *zeros = simd.load(&columns.zeros.0[at(v)..]);
            *prepared = self.weigh.prepared(simd, simd.load(&columns.scales.0[at(v)..]));
        }
        let mut totals = [[simd.splat(0.0); V]; R];
        let rows = self.packed.rows(self.segment).chunks_exact(self.packed.row_words());
        for ((index, words), kept) in rows.enumerate().zip(self.kept.iter_mut()) {
            let kept = &mut kept[word / S::LANES];
            let mut codes = if from == Words::New {
                if word == 0 {
                    ahead.fetch(simd);
                }
                let words = simd.words(&words[self.strip.word + word..]);
                simd.store_words(words, kept);
                words
            } else {
                simd.skip(simd.load_words(kept), nibble)
            };
            let mut weights = [simd.splat(0.0); V];
            for (v, weights) in weights.iter_mut().enumerate() {
                let differences = simd.sub(simd.low_codes(codes), zeros[v]);
                *weights = self.weigh.weights(simd, differences, prepared[v]);
                codes = simd.next(codes);
            }
            for r in 0..R {
                let left = simd.splat(left[r][index]);
                for v in 0..V {
                    totals[r][v] = simd.mul_add(left, weights[v], totals[r][v]);
                }
            }
        }
        for r in 0..R {
            for v in 0..V {
                let sum = &mut sums[r].0[at(v)..];
                simd.store(self.weigh.add(simd, simd.load(sum), totals[r][v], prepared[v]), sum);
            }
        }
    }
}
