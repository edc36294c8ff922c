//! Few rows of activations: codes are multiplied where they are unpacked, with the sums in registers.
//!
//! Runs are short, since memory is read fastest if two of them fit into a first-level cache, side by side. Between them,
//! the sums of a group are kept unscaled.

use super::piece::{PieceTask, pack, scales};
use super::zeros::{Differences, HALF, Zeros};
use crate::kernel::ahead::{Ahead, Fetch};
use crate::kernel::packed::{STRIP_COLUMNS, STRIP_WORDS, WORD_COLUMNS};
use crate::kernel::parts::Sums;
use crate::kernel::simd::{CodeJob, CodePairs, Lanes, Simd, StripRows};
use crate::kernel::strips::{Padded, Strips, strips};

/// The most weight rows in a run.
const LONGEST: usize = 32;

/// The most rows of activations whose sums of a whole strip are in registers at once; of more, those of one half are, and
/// then those of the other.
const AT_ONCE: usize = 2;

/// The most rows for which reading is what takes the time, and runs are short. With more, runs are long, and words are kept
/// side by side for the second half: in the weight, a row's worth apart, they would fall out of a first-level cache before
/// they are met again.
const READING: usize = 3;

/// A run's words, two rows at a time.
type Kept = [[Lanes; 2]; LONGEST / 2];

/// The products of a piece, for `M` rows of activations; `[strips, M]` sums.
pub(super) struct Direct<'a, 'b, const M: usize> {
    pub(super) task: &'b mut PieceTask<'a>,
    /// Memory for the sums of a group.
    pub(super) totals: &'b mut [Sums],
}

impl<const M: usize> CodeJob for Direct<'_, '_, M> {
    #[inline(always)]
    fn run<A: CodePairs>(self, pairs: A) {
        let simd = pairs.simd();
        let PieceTask { x, packed, piece, next, sums, finite, .. } = self.task;
        let (packed, piece) = (*packed, *piece);
        let (totals, sums) = (self.totals.as_chunks_mut::<M>().0, sums.as_chunks_mut::<M>().0);
        let mut steps = [[0.0; M]; LONGEST / 2];
        let mut padded = Padded::new();
        let mut kept: Kept = [[Lanes([0; STRIP_WORDS]); 2]; LONGEST / 2];
        let longest = if M <= READING { packed.run(LONGEST) } else { LONGEST };
        for segment in packed.segments(piece.weight_rows(), longest) {
            let steps = &mut steps[..segment.count / 2];
            pack(x, packed, segment, steps);
            let mut ahead = Ahead::new(packed, piece, *next, segment);
            let mut of_strips = totals.iter_mut();
            for Strips { rows, zeros, words: [start, end] } in strips(packed, piece, segment, &mut padded) {
                for (word, totals) in (start..end).step_by(STRIP_WORDS).zip(of_strips.by_ref()) {
                    let zeros = Zeros::new(pairs, &zeros[word..]);
                    let words = rows.strip(word);
                    let mut block = Block { pairs, begins: segment.begins, zeros, words, steps, totals };
                    if M <= AT_ONCE {
                        block.add::<0, WORD_COLUMNS>(&mut kept, &mut ahead);
                    } else {
                        block.add::<0, HALF>(&mut kept, &mut ahead);
                        block.add::<HALF, HALF>(&mut kept, &mut ahead);
                    }
                    ahead.turn(simd, segment.count);
                }
            }
            if segment.ends {
                *finite &= packed.strips_are_finite(segment.group, piece.strips);
                for ((index, totals), sums) in totals.iter().enumerate().zip(sums.iter_mut()) {
                    let strip = packed.strip(piece.strips[0] + index);
                    packed.prefetch_group(simd, segment.group + 1, strip);
                    scale(simd, &scales(pairs, packed, segment.group, strip), totals, sums);
                }
            }
        }
    }
}

/// Adds the sums of a group, scaled, to the others.
#[inline(always)]
fn scale<S: Simd, const M: usize>(simd: S, scales: &Sums, totals: &[Sums; M], sums: &mut [Sums; M]) {
    for (totals, sums) in totals.iter().zip(sums) {
        for at in (0..STRIP_COLUMNS).step_by(STRIP_WORDS) {
            let (scale, total) = (simd.load(&scales.0[at..]), simd.load(&totals.0[at..]));
            simd.store(simd.mul_add(scale, total, simd.load(&sums.0[at..])), &mut sums.0[at..]);
        }
    }
}

/// One strip of a run.
struct Block<'a, A: CodePairs, const M: usize> {
    pairs: A,
    /// Whether the run is the first of its group: there are no sums yet.
    begins: bool,
    zeros: Zeros<A>,
    words: StripRows<'a>,
    steps: &'a [[f32; M]],
    totals: &'a mut [Sums; M],
}

impl<A: CodePairs, const M: usize> Block<'_, A, M> {
    /// Adds the products of `V` vectors, from the one with number `FIRST` on.
    #[inline(always)]
    fn add<const FIRST: usize, const V: usize>(&mut self, kept: &mut Kept, ahead: &mut Ahead<'_>) {
        let (pairs, simd) = (self.pairs, self.pairs.simd());
        let mut sums = [[simd.splat(0.0); V]; M];
        if !self.begins {
            for (sums, totals) in sums.iter_mut().zip(self.totals.iter()) {
                for (v, sum) in sums.iter_mut().enumerate() {
                    *sum = simd.load(&totals.0[(FIRST + v) * STRIP_WORDS..]);
                }
            }
        }
        assert_eq!(self.words.pairs(), self.steps.len(), "a step for each pair of rows");
        for index in 0..self.steps.len().min(kept.len()) {
            for _ in 0..V / HALF {
                ahead.fetch(simd);
            }
            let kept = &mut kept[index];
            let (first, second);
            if M > READING && FIRST > 0 {
                (first, second) = (simd.load_words(&kept[0]), simd.load_words(&kept[1]));
            } else {
                let words = self.words.pair(index);
                (first, second) = (simd.words(words[0]), simd.words(words[1]));
                if M > READING {
                    simd.store_words(first, &mut kept[0]);
                    simd.store_words(second, &mut kept[1]);
                }
            }
            // One half after the other: the registers do not hold all differences.
            let left = &self.steps[index];
            if FIRST == 0 {
                let right = self.zeros.of_first_words(pairs, [first, second]);
                step(pairs, left, &right, &mut sums, 0);
            }
            if FIRST + V == WORD_COLUMNS {
                let right = self.zeros.of_last_words(pairs, [first, second]);
                step(pairs, left, &right, &mut sums, V - HALF);
            }
        }
        for (sums, totals) in sums.iter().zip(self.totals.iter_mut()) {
            for (v, sum) in sums.iter().enumerate() {
                simd.store(*sum, &mut totals.0[(FIRST + v) * STRIP_WORDS..]);
            }
        }
    }
}

/// Adds the products of two weight rows to the sums from vector `at` on.
#[inline(always)]
fn step<A: CodePairs, const M: usize, const V: usize>(
    pairs: A,
    left: &[f32; M],
    right: &Differences<A>,
    sums: &mut [[<A::S as Simd>::F; V]; M],
    at: usize,
) {
    for (sums, left) in sums.iter_mut().zip(left) {
        for (sum, right) in sums[at..].iter_mut().zip(right) {
            *sum = pairs.step(*left, *right, *sum);
        }
    }
}
