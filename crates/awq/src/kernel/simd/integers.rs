//! Codes multiplied by integers of sixteen bits, in pairs, whose sums of 32 bits are exact.
//!
//! Two rows of a vector of words share vectors of pairs, as in [`CodePairs`](super::CodePairs): lanes of four bytes, whose lower
//! halves come from the first row and whose upper ones from the second. Two lanes in a row are of one word, its lower and its upper
//! half; of each four words, two are in one vector and two in the other.

use super::{Aligned, Simd};
use crate::kernel::packed::STRIP_COLUMNS;

/// The most weight rows whose products a sum holds: a code counts up to 256, and 16 * 15 * 256 * 2^15 is below 2^31.
pub(crate) const EXACT_ROWS: usize = 16;

/// What a code counts in a product, by its nibble in half a word.
pub(crate) const CODE_PLACES: [f32; 4] = [1.0, 16.0, 256.0, 1.0];

/// The words of a vector.
pub(crate) type WordsOf<A> = <<A as IntegerPairs>::S as Simd>::U;

/// Work to be compiled for a way that multiplies integers.
pub(crate) trait IntegerJob {
    /// Does it; `inline(always)`.
    fn run<A: IntegerPairs>(self, pairs: A);
}

/// A way to multiply them.
pub(crate) trait IntegerPairs: Copy {
    /// The instruction set.
    type S: Simd;

    /// The instruction set.
    fn simd(self) -> Self::S;
    /// The first two words of each four, of two rows.
    fn first_words(self, first: WordsOf<Self>, second: WordsOf<Self>) -> WordsOf<Self>;
    /// The last two.
    fn last_words(self, first: WordsOf<Self>, second: WordsOf<Self>) -> WordsOf<Self>;
    /// A nibble of every half, times what it counts in [`CODE_PLACES`].
    fn codes(self, halves: WordsOf<Self>, nibble: usize) -> WordsOf<Self>;
    /// All pairs alike.
    fn splat_pair(self, pair: i32) -> WordsOf<Self>;
    /// Adds the products of pairs.
    fn add_products(self, codes: WordsOf<Self>, left: WordsOf<Self>, sums: WordsOf<Self>) -> WordsOf<Self>;
    /// `-(a * b)`, of 32 bits.
    fn neg_mul(self, a: WordsOf<Self>, b: WordsOf<Self>) -> WordsOf<Self>;
    /// Sums as f32.
    fn to_f32(self, sums: WordsOf<Self>) -> <Self::S as Simd>::F;
    /// A strip to the order of nibbles from that in which, for each vector of words, those of the first pairs come before those
    /// of the last, nibble by nibble.
    fn by_nibble(self, sums: &Aligned<STRIP_COLUMNS>) -> Aligned<STRIP_COLUMNS>;
}
