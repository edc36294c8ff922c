//! A run of bf16 where integers are multiplied in pairs: codes are met where they are in half a word, by the terms of
//! activations, and no sum is rounded before the run's end.

use super::forward::RunTask;
use super::terms::{TERMS, Terms};
use crate::kernel::ahead::{Ahead, Fetch};
use crate::kernel::packed::{STRIP_COLUMNS, STRIP_WORDS, WORD_COLUMNS};
use crate::kernel::parts::Sums;
use crate::kernel::simd::{
    Aligned, CODE_PLACES, EXACT_ROWS, IntegerJob, IntegerPairs, Simd, StripRows, WordsOf,
};
use crate::kernel::strips::Strips;

/// The fewest strips of a weight that repay the terms of a run.
pub(super) const FEWEST_STRIPS: usize = 4;

/// Adds the products of a run of one or two rows to `totals`, of each strip and row, in the order of the vectors of pairs, if the
/// activations have terms.
#[inline(always)]
pub(super) fn add<S: Simd, W>(simd: S, run: &RunTask<'_, W>, totals: &mut [Sums]) -> bool {
    match run.rows {
        1 => add_rows::<S, W, 1, 4>(simd, run, totals),
        _ => add_rows::<S, W, 2, 2>(simd, run, totals),
    }
}

#[inline(always)]
fn add_rows<S: Simd, W, const M: usize, const N: usize>(
    simd: S,
    run: &RunTask<'_, W>,
    totals: &mut [Sums],
) -> bool {
    let Some(terms) = Terms::<M>::of(run.left, run.segment.count) else { return false };
    let (strips, ahead) = (run.strips, run.ahead.clone());
    simd.vectorize_integers(Products::<M, N> { strips, terms: &terms, totals, ahead });
    true
}

/// The products of `M` rows in all strips of a run, `N` nibbles of half a word at a time.
struct Products<'a, const M: usize, const N: usize> {
    strips: [Strips<'a>; 2],
    terms: &'a Terms<M>,
    totals: &'a mut [Sums],
    ahead: Ahead<'a>,
}

/// Vectors of pairs that a strip of two rows is.
const VECTORS: usize = 4;

/// Nibbles in half a word.
const NIBBLES: usize = WORD_COLUMNS / 2;

/// A strip of a run in vectors of pairs, side by side.
type Kept<A> = [[WordsOf<A>; VECTORS]; EXACT_ROWS / 2];

impl<const M: usize, const N: usize> IntegerJob for Products<'_, M, N> {
    #[inline(always)]
    fn run<A: IntegerPairs>(self, pairs: A) {
        let Self { strips, terms, totals, mut ahead } = self;
        let simd = pairs.simd();
        let mut kept: Kept<A> = [[simd.zero_words(); VECTORS]; EXACT_ROWS / 2];
        let mut of_strips = totals.as_chunks_mut::<M>().0.iter_mut();
        for Strips { rows, zeros, words: [start, end] } in strips {
            for (word, totals) in (start..end).step_by(STRIP_WORDS).zip(of_strips.by_ref()) {
                let mut strip =
                    Strip { pairs, words: rows.strip(word), zeros: &zeros[word..], terms, totals };
                // One by one, so that every vector and every nibble is a constant.
                strip.vector::<N, 0>(&mut kept, &mut ahead);
                strip.vector::<N, 1>(&mut kept, &mut ahead);
                strip.vector::<N, 2>(&mut kept, &mut ahead);
                strip.vector::<N, 3>(&mut kept, &mut ahead);
                ahead.turn(simd, 2 * terms.pairs);
            }
        }
    }
}

/// One strip.
struct Strip<'a, A, const M: usize> {
    pairs: A,
    words: StripRows<'a>,
    zeros: &'a [i32],
    terms: &'a Terms<M>,
    totals: &'a mut [Sums; M],
}

impl<A: IntegerPairs, const M: usize> Strip<'_, A, M> {
    /// All nibbles of vector `V`.
    #[inline(always)]
    fn vector<const N: usize, const V: usize>(&mut self, kept: &mut Kept<A>, ahead: &mut Ahead<'_>) {
        self.pass::<N, V, 0>(kept, ahead);
        if N <= NIBBLES / 2 {
            self.pass::<N, V, 2>(kept, ahead);
        }
    }

    /// The vectors of pairs that two rows are.
    #[inline(always)]
    fn pair(&self, index: usize) -> [WordsOf<A>; VECTORS] {
        let (pairs, simd) = (self.pairs, self.pairs.simd());
        let [first, second] = self.words.pair(index);
        let (next_first, next_second) =
            (simd.words(&first[A::S::LANES..]), simd.words(&second[A::S::LANES..]));
        let (first, second) = (simd.words(first), simd.words(second));
        [
            pairs.first_words(first, second),
            pairs.last_words(first, second),
            pairs.first_words(next_first, next_second),
            pairs.last_words(next_first, next_second),
        ]
    }

    /// The zero points that vector `V` meets, in the lower halves of pairs.
    #[inline(always)]
    fn zeros<const V: usize>(&self) -> WordsOf<A> {
        let (pairs, simd) = (self.pairs, self.pairs.simd());
        let (zeros, none) = (simd.words(&self.zeros[V / 2 * A::S::LANES..]), simd.zero_words());
        if V.is_multiple_of(2) { pairs.first_words(zeros, none) } else { pairs.last_words(zeros, none) }
    }

    /// `N` nibbles of vector `V`, from `FIRST` on.
    #[inline(always)]
    fn pass<const N: usize, const V: usize, const FIRST: usize>(
        &mut self,
        kept: &mut Kept<A>,
        ahead: &mut Ahead<'_>,
    ) {
        let (pairs, simd, terms) = (self.pairs, self.pairs.simd(), self.terms);
        let zeros = self.zeros::<V>();
        let mut sums = [[[zeros; N]; TERMS]; M];
        for (sums, totals) in sums.iter_mut().zip(&terms.totals) {
            for (sums, total) in sums.iter_mut().zip(totals) {
                let total = pairs.splat_pair(*total);
                for (n, sum) in sums.iter_mut().enumerate() {
                    *sum = pairs.neg_mul(pairs.codes(zeros, FIRST + n), total);
                }
            }
        }
        assert_eq!(self.words.pairs(), terms.pairs, "terms for each pair of rows");
        for (index, (of_pair, kept)) in terms.of_pairs.iter().zip(kept).enumerate().take(terms.pairs) {
            if V == 0 && FIRST == 0 {
                ahead.fetch(simd);
                ahead.fetch(simd);
                *kept = self.pair(index);
            }
            let mut codes = [zeros; N];
            for (n, codes) in codes.iter_mut().enumerate() {
                *codes = pairs.codes(kept[V], FIRST + n);
            }
            for (sums, of_row) in sums.iter_mut().zip(of_pair) {
                for (sums, left) in sums.iter_mut().zip(of_row) {
                    let left = pairs.splat_pair(*left);
                    for (sum, codes) in sums.iter_mut().zip(codes) {
                        *sum = pairs.add_products(codes, left, *sum);
                    }
                }
            }
        }
        for ((sums, units), totals) in sums.iter().zip(&terms.units).zip(self.totals.iter_mut()) {
            let [first, second] = [simd.splat(units[0]), simd.splat(units[1])];
            let vectors = totals.0[(V * NIBBLES + FIRST) * A::S::LANES..].chunks_exact_mut(A::S::LANES);
            for (n, total) in vectors.enumerate().take(N) {
                let sum = simd.mul_add(pairs.to_f32(sums[1][n]), second, simd.load(total));
                simd.store(simd.mul_add(pairs.to_f32(sums[0][n]), first, sum), total);
            }
        }
    }
}

/// Adds the totals of a group to the sums of its strips, scaled, and makes them zero.
pub(super) struct Scale<'a> {
    /// Of each strip, by nibble.
    pub(super) scales: &'a [Sums],
    pub(super) rows: usize,
    pub(super) totals: &'a mut [Sums],
    pub(super) sums: &'a mut [Sums],
}

impl IntegerJob for Scale<'_> {
    #[inline(always)]
    fn run<A: IntegerPairs>(self, pairs: A) {
        let (simd, Self { scales, rows, totals, sums }) = (pairs.simd(), self);
        let of_strips = totals.chunks_exact_mut(rows).zip(sums.chunks_exact_mut(rows)).zip(scales);
        for ((totals, sums), scales) in of_strips {
            for (total, sum) in totals.iter_mut().zip(sums) {
                let total = std::mem::replace(total, Aligned([0.0; STRIP_COLUMNS]));
                let by_nibble = pairs.by_nibble(&total);
                for nibble in 0..WORD_COLUMNS {
                    let place = simd.splat(1.0 / CODE_PLACES[nibble % NIBBLES]);
                    for at in (nibble * STRIP_WORDS..(nibble + 1) * STRIP_WORDS).step_by(A::S::LANES) {
                        let scale = simd.mul(simd.load(&scales.0[at..]), place);
                        let more = simd.load(&by_nibble.0[at..]);
                        let sum = &mut sum.0[at..];
                        simd.store(simd.mul_add(scale, more, simd.load(sum)), sum);
                    }
                }
            }
        }
    }
}
