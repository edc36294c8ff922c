//! One strip of a run of weight rows, for all rows of activations.

use half::bf16;

use crate::kernel::ahead::Ahead;
use crate::kernel::packed::{Packed, STRIP_COLUMNS, STRIP_WORDS, Segment, Strip, WORD_COLUMNS};
use crate::kernel::parts::Sums;
use crate::kernel::simd::{Aligned, CodePairs, Lanes, Simd, Words};

/// The most weight rows in a run for few rows of activations: a first-level cache holds about as many rows.
pub(super) const RUN: usize = 32;

/// The most weight rows in a run for more.
pub(super) const LONG_RUN: usize = 64;

/// Up to so many rows of activations, the packed words are what takes the time.
pub(super) const FEW: usize = 8;

/// The most rows of activations in a tile.
const TILE: usize = 6;

/// Half a strip's vectors: what a tile sums at once.
const HALF: usize = WORD_COLUMNS / 2;

/// The pairs of differences of a run, by nibble: the right sides of its steps.
type Panel = [Aligned<STRIP_COLUMNS>; LONG_RUN / 2];

/// What a strip of a run becomes on the way.
pub(super) struct Buffers {
    words: [[Lanes; 2]; RUN / 2],
    panel: Panel,
}

impl Buffers {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        Self {
            words: [[Lanes([0; STRIP_WORDS]); 2]; RUN / 2],
            panel: [Aligned([0.0; STRIP_COLUMNS]); LONG_RUN / 2],
        }
    }
}

/// A strip of one group's zero points, as differences take them.
struct Zeros<A: CodePairs> {
    low: [Words<A>; 2],
    high: [Words<A>; 2],
}

impl<A: CodePairs> Zeros<A> {
    #[inline(always)]
    fn new(pairs: A, packed: &Packed<'_>, group: usize, strip: Strip) -> Self {
        let words = pairs.load_strip(&packed.zero_strip(group, strip), STRIP_WORDS);
        let (low, high) = (pairs.low_nibbles(words, words), pairs.high_nibbles(words, words));
        let none = pairs.no_zeros();
        Self {
            low: [pairs.even(low, none), pairs.odd(low, none)],
            high: [pairs.even(high, none), pairs.odd(high, none)],
        }
    }

    /// The differences of two rows, by nibble.
    #[inline(always)]
    fn differences(&self, pairs: A, first: Words<A>, second: Words<A>) -> [<A::S as Simd>::F; WORD_COLUMNS] {
        let low = self.low(pairs, first, second);
        let high = self.high(pairs, first, second);
        [low[0], low[1], low[2], low[3], high[0], high[1], high[2], high[3]]
    }

    /// Those of nibbles 0 to 3.
    #[inline(always)]
    fn low(&self, pairs: A, first: Words<A>, second: Words<A>) -> [<A::S as Simd>::F; HALF] {
        look_up(pairs, pairs.low_nibbles(first, second), self.low)
    }

    /// Those of nibbles 4 to 7.
    #[inline(always)]
    fn high(&self, pairs: A, first: Words<A>, second: Words<A>) -> [<A::S as Simd>::F; HALF] {
        look_up(pairs, pairs.high_nibbles(first, second), self.high)
    }
}

#[inline(always)]
fn look_up<A: CodePairs>(pairs: A, nibbles: Words<A>, zeros: [Words<A>; 2]) -> [<A::S as Simd>::F; HALF] {
    let (even, odd) = (pairs.even(nibbles, zeros[0]), pairs.odd(nibbles, zeros[1]));
    [pairs.lower(even), pairs.lower(odd), pairs.upper(even), pairs.upper(odd)]
}

/// What a strip of a run is multiplied with, and where it goes.
pub(super) struct Block<'a, A: CodePairs> {
    pub(super) pairs: A,
    pub(super) packed: &'a Packed<'a>,
    pub(super) segment: Segment,
    pub(super) strip: Strip,
    /// Of all rows, from the segment's first term on; rows are `I` apart.
    pub(super) x: &'a [bf16],
    /// By nibble.
    pub(super) scales: &'a Aligned<STRIP_COLUMNS>,
    /// Of all rows.
    pub(super) sums: &'a mut [Sums],
    pub(super) rows: usize,
}

impl<'a, A: CodePairs> Block<'a, A> {
    /// Adds the block's products.
    #[inline(always)]
    pub(super) fn run(mut self, buffers: &mut Buffers, ahead: Ahead<'_>) {
        match self.rows {
            1 => self.at_once::<1>(ahead),
            2 => self.at_once::<2>(ahead),
            3 => self.halves::<3, 0>(&mut buffers.words, ahead),
            4 => self.halves::<4, 0>(&mut buffers.words, ahead),
            5 => self.halves::<5, 0>(&mut buffers.words, ahead),
            6 => self.halves::<6, 0>(&mut buffers.words, ahead),
            7 => self.halves::<4, 3>(&mut buffers.words, ahead),
            FEW => self.halves::<4, 4>(&mut buffers.words, ahead),
            rows => {
                let panel = &mut buffers.panel;
                self.unpack(panel, ahead);
                // Tiles of nearly equal height: four rows at least, since there are nine.
                let tiles = rows.div_ceil(TILE);
                let mut row = 0;
                for index in 0..tiles {
                    let end = rows * (index + 1) / tiles;
                    match end - row {
                        4 => self.tile::<4>(panel, row),
                        5 => self.tile::<5>(panel, row),
                        _ => self.tile::<TILE>(panel, row),
                    }
                    row = end;
                }
            }
        }
    }

    /// The terms that rows `row ..+ R` meet in this block, in pairs.
    #[inline(always)]
    fn left<const R: usize>(&self, row: usize) -> [&'a [[bf16; 2]]; R] {
        let mut left: [&'a [[bf16; 2]]; R] = [&[]; R];
        for (index, left) in left.iter_mut().enumerate() {
            let from = (row + index) * self.packed.in_features();
            *left = self.x[from..from + self.segment.count].as_chunks().0;
        }
        left
    }

    /// `R` rows, all vectors of the strip in registers, straight from the words.
    #[inline(always)]
    fn at_once<const R: usize>(&mut self, mut ahead: Ahead<'_>) {
        let (pairs, simd, strip) = (self.pairs, self.pairs.simd(), self.strip);
        let zeros = Zeros::new(pairs, self.packed, self.segment.group, strip);
        let stride = self.packed.row_words();
        let left = self.left::<R>(0);
        let mut totals = [[simd.splat(0.0); WORD_COLUMNS]; R];
        let words = self.packed.rows(self.segment).chunks_exact(2 * stride);
        for ((index, words), _) in words.enumerate().zip(left[0]) {
            ahead.fetch(simd);
            let first = pairs.load_strip(&words[strip.word..], strip.words);
            let second = pairs.load_strip(&words[stride + strip.word..], strip.words);
            let right = zeros.differences(pairs, first, second);
            for r in 0..R {
                let left = step_of(left[r][index]);
                for nibble in 0..WORD_COLUMNS {
                    totals[r][nibble] = pairs.step(left, right[nibble], totals[r][nibble]);
                }
            }
        }
        for (row, totals) in totals.iter().enumerate() {
            self.add(row, 0, totals);
        }
    }

    /// All rows, one half of the strip's vectors after the other, at most `R` and `S` rows at a time.
    #[inline(always)]
    fn halves<const R: usize, const S: usize>(
        &mut self,
        words: &mut [[Lanes; 2]; RUN / 2],
        ahead: Ahead<'_>,
    ) {
        self.half::<R, true>(0, 0, words, ahead);
        self.half::<R, false>(0, HALF, words, ahead);
        if S > 0 {
            self.half::<S, false>(R, 0, words, ahead);
            self.half::<S, false>(R, HALF, words, ahead);
        }
    }

    /// Rows `row ..+ R`, the vectors from `first` on. The first time, the words come from the weight and are kept side by
    /// side: there, a row's worth apart, they would fall out of a first-level cache before they are met again.
    #[inline(always)]
    fn half<const R: usize, const FIRST_TIME: bool>(
        &mut self,
        row: usize,
        first: usize,
        kept: &mut [[Lanes; 2]; RUN / 2],
        mut ahead: Ahead<'_>,
    ) {
        let (pairs, simd, strip) = (self.pairs, self.pairs.simd(), self.strip);
        let zeros = Zeros::new(pairs, self.packed, self.segment.group, strip);
        let stride = self.packed.row_words();
        let left = self.left::<R>(row);
        let mut totals = [[simd.splat(0.0); HALF]; R];
        let words = self.packed.rows(self.segment).chunks_exact(2 * stride);
        for (((index, words), kept), _) in words.enumerate().zip(kept).zip(left[0]) {
            let (above, below);
            if FIRST_TIME {
                ahead.fetch(simd);
                above = pairs.load_strip(&words[strip.word..], strip.words);
                below = pairs.load_strip(&words[stride + strip.word..], strip.words);
                simd.store_words(above, &mut kept[0]);
                simd.store_words(below, &mut kept[1]);
            } else {
                (above, below) = (simd.load_words(&kept[0]), simd.load_words(&kept[1]));
            }
            let right =
                if first == 0 { zeros.low(pairs, above, below) } else { zeros.high(pairs, above, below) };
            for r in 0..R {
                let left = step_of(left[r][index]);
                for v in 0..HALF {
                    totals[r][v] = pairs.step(left, right[v], totals[r][v]);
                }
            }
        }
        for (index, totals) in totals.iter().enumerate() {
            self.add(row + index, first, totals);
        }
    }

    /// Writes the differences of all pairs of rows.
    #[inline(always)]
    fn unpack(&self, panel: &mut Panel, mut ahead: Ahead<'_>) {
        let (pairs, simd, strip) = (self.pairs, self.pairs.simd(), self.strip);
        let zeros = Zeros::new(pairs, self.packed, self.segment.group, strip);
        let stride = self.packed.row_words();
        let words = self.packed.rows(self.segment).chunks_exact(2 * stride);
        for (words, to) in words.zip(panel) {
            ahead.fetch(simd);
            let first = pairs.load_strip(&words[strip.word..], strip.words);
            let second = pairs.load_strip(&words[stride + strip.word..], strip.words);
            for (right, to) in
                zeros.differences(pairs, first, second).into_iter().zip(to.0.chunks_exact_mut(STRIP_WORDS))
            {
                simd.store(right, to);
            }
        }
    }

    /// Rows `row ..+ R` against an unpacked run.
    #[inline(always)]
    fn tile<const R: usize>(&mut self, panel: &Panel, row: usize) {
        let (pairs, simd) = (self.pairs, self.pairs.simd());
        let count = self.segment.count / 2;
        let panel = &panel[..count];
        for first in (0..WORD_COLUMNS).step_by(HALF) {
            let x = self.left::<R>(row);
            let mut totals = [[simd.splat(0.0); HALF]; R];
            for (index, from) in panel.iter().enumerate() {
                let mut right = [simd.splat(0.0); HALF];
                for (v, right) in right.iter_mut().enumerate() {
                    *right = simd.load(&from.0[(first + v) * STRIP_WORDS..]);
                }
                for r in 0..R {
                    let left = step_of(x[r][index]);
                    for v in 0..HALF {
                        totals[r][v] = pairs.step(left, right[v], totals[r][v]);
                    }
                }
            }
            for (index, totals) in totals.iter().enumerate() {
                self.add(row + index, first, totals);
            }
        }
    }

    /// Scales the sums of the vectors from `first` on, and adds them.
    #[inline(always)]
    fn add<const V: usize>(&mut self, row: usize, first: usize, totals: &[<A::S as Simd>::F; V]) {
        let simd = self.pairs.simd();
        let sums = &mut self.sums[row].0;
        for (v, total) in totals.iter().enumerate() {
            let at = (first + v) * STRIP_WORDS;
            let scale = simd.load(&self.scales.0[at..]);
            simd.store(simd.mul_add(scale, *total, simd.load(&sums[at..])), &mut sums[at..]);
        }
    }
}

/// Two terms as the left side of a step.
#[inline(always)]
fn step_of([first, second]: [bf16; 2]) -> f32 {
    f32::from_bits(u32::from(first.to_bits()) | u32::from(second.to_bits()) << 16)
}
