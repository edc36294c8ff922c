//! Codes multiplied as pairs of bf16 terms, straight from packed words: the columns of a strip stay in the lanes.
//!
//! A difference `q - z` is an integer from -15 to 15, exact in bf16. Two rows of a strip share a vector: sixteen lanes
//! of four bytes, one for each word, whose lower halves come from the first row and whose upper ones from the second.

use super::{Arithmetic, Simd};
use crate::kernel::packed::STRIP_WORDS;

/// Sixteen words.
pub(crate) type Words<A> = <<A as Arithmetic>::S as Simd>::U;

/// Rows of words, two by two.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowPairs<'a> {
    words: &'a [i32],
    row_words: usize,
    count: usize,
}

impl<'a> RowPairs<'a> {
    /// All rows of `words`; of an odd number, not the last.
    #[inline(always)]
    pub(crate) fn new(words: &'a [i32], row_words: usize) -> Self {
        Self { words, row_words, count: words.len() / (2 * row_words) }
    }

    /// The strip that starts with word `word` of each row.
    ///
    /// # Panics
    ///
    /// If a row ends before the strip does.
    #[inline(always)]
    pub(crate) fn strip(&self, word: usize) -> StripPairs<'a> {
        assert!(word < self.row_words && self.row_words - word >= STRIP_WORDS, "a strip within the row");
        StripPairs { first: self.words.as_ptr().wrapping_add(word), rows: *self }
    }
}

/// A strip of pairs of rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StripPairs<'a> {
    /// Its first word.
    first: *const i32,
    rows: RowPairs<'a>,
}

impl StripPairs<'_> {
    /// How many pairs.
    #[inline(always)]
    pub(crate) fn count(&self) -> usize {
        self.rows.count
    }

    /// The first of [`STRIP_WORDS`] words of both rows of a pair.
    ///
    /// # Panics
    ///
    /// If there is no such pair.
    #[inline(always)]
    pub(super) fn pair(&self, index: usize) -> [*const i32; 2] {
        assert!(index < self.rows.count, "a pair among those counted");
        let first = self.first.wrapping_add(2 * index * self.rows.row_words);
        [first, first.wrapping_add(self.rows.row_words)]
    }
}

/// Work to be compiled for a way that reads codes.
pub(crate) trait CodeJob {
    /// Does it; `inline(always)`.
    fn run<A: CodePairs>(self, pairs: A);
}

/// A way for pairs of bf16 terms that reads codes; a strip has a lane for each word, and vectors by nibble.
pub(crate) trait CodePairs: Arithmetic {
    /// Runs `job` with the instructions it needs.
    fn vectorize_codes(self, job: impl CodeJob);
    /// The rows of a pair.
    fn load_pair(self, rows: &StripPairs<'_>, index: usize) -> [Words<Self>; 2];
    /// Nibbles 0 to 3 of two rows, those of the first in the lower halves.
    fn low_nibbles(self, first: Words<Self>, second: Words<Self>) -> Words<Self>;
    /// Nibbles 4 to 7 of two rows.
    fn high_nibbles(self, first: Words<Self>, second: Words<Self>) -> Words<Self>;
    /// The lower nibble of each byte, less the same byte of `zeros`.
    fn even(self, nibbles: Words<Self>, zeros: Words<Self>) -> Words<Self>;
    /// The upper nibble of each byte, less the same byte of `zeros`.
    fn odd(self, nibbles: Words<Self>, zeros: Words<Self>) -> Words<Self>;
    /// The lower bytes of all halves, as pairs of bf16: the right side of a step.
    fn lower(self, differences: Words<Self>) -> <Self::S as Simd>::F;
    /// The upper bytes of all halves.
    fn upper(self, differences: Words<Self>) -> <Self::S as Simd>::F;
    /// No zero points.
    fn no_zeros(self) -> Words<Self>;
}
