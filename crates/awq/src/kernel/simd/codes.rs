//! Codes multiplied as pairs of bf16 terms, straight from packed words: the columns of a strip stay in the lanes.
//!
//! A difference `q - z` is an integer from -15 to 15, exact in bf16. Two rows of a strip share a vector: sixteen lanes
//! of four bytes, one for each word, whose lower halves come from the first row and whose upper ones from the second.

use super::{Arithmetic, Simd};

/// Sixteen words.
pub(crate) type Words<A> = <<A as Arithmetic>::S as Simd>::U;

/// Work to be compiled for a way that reads codes.
pub(crate) trait CodeJob {
    /// Does it; `inline(always)`.
    fn run<A: CodePairs>(self, pairs: A);
}

/// A way for pairs of bf16 terms that reads codes; a strip has a lane for each word, and vectors by nibble.
pub(crate) trait CodePairs: Arithmetic {
    /// Runs `job` with the instructions it needs.
    fn vectorize_codes(self, job: impl CodeJob);
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
