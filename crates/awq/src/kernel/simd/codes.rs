//! Codes multiplied as pairs of bf16 terms, straight from packed words: the columns of a strip stay in the lanes.
//!
//! A difference `q - z` is an integer from -15 to 15, exact in bf16. Two rows of a strip share a vector: sixteen lanes
//! of four bytes, whose lower halves come from the first row and whose upper ones from the second. Two lanes in a row are
//! of one word, its lower and its upper half; of each four words, two are in one vector and two in the other.

use super::{Aligned, Arithmetic, Simd};
use crate::kernel::packed::STRIP_COLUMNS;

/// Sixteen words.
pub(crate) type Words<A> = <<A as Arithmetic>::S as Simd>::U;

/// Work to be compiled for a way that reads codes.
pub(crate) trait CodeJob {
    /// Does it; `inline(always)`.
    fn run<A: CodePairs>(self, pairs: A);
}

/// A way for pairs of bf16 terms that reads codes.
///
/// A strip is eight vectors of pairs: those of the first words of each four, for nibbles 0 and 4, 1 and 5, 2 and 6, 3 and
/// 7, and those of the last words.
pub(crate) trait CodePairs: Arithmetic {
    /// Runs `job` with the instructions it needs.
    fn vectorize_codes(self, job: impl CodeJob);
    /// The first two words of each four, of two rows.
    fn first_words(self, first: Words<Self>, second: Words<Self>) -> Words<Self>;
    /// The last two.
    fn last_words(self, first: Words<Self>, second: Words<Self>) -> Words<Self>;
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
    /// A strip by nibble, in the order of the vectors of pairs.
    fn paired(self, by_nibble: &Aligned<STRIP_COLUMNS>) -> Aligned<STRIP_COLUMNS>;
    /// The reverse.
    fn by_nibble(self, paired: &Aligned<STRIP_COLUMNS>) -> Aligned<STRIP_COLUMNS>;
}
