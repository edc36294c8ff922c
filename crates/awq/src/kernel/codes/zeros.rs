//! A strip of one group's zero points, and differences from them.

use crate::kernel::packed::WORD_COLUMNS;
use crate::kernel::simd::{CodePairs, Simd, Words};

/// Half of a word's nibbles.
pub(super) const HALF: usize = WORD_COLUMNS / 2;

/// Zero points as differences take them: of nibbles 0 to 3, and 4 to 7.
#[derive(Clone, Copy)]
pub(super) struct Zeros<A: CodePairs> {
    low: [Words<A>; 2],
    high: [Words<A>; 2],
}

impl<A: CodePairs> Zeros<A> {
    /// Of a strip's words.
    #[inline(always)]
    pub(super) fn new(pairs: A, words: &[i32]) -> Self {
        let words = pairs.simd().words(words);
        let (low, high) = (pairs.low_nibbles(words, words), pairs.high_nibbles(words, words));
        let none = pairs.no_zeros();
        Self {
            low: [pairs.even(low, none), pairs.odd(low, none)],
            high: [pairs.even(high, none), pairs.odd(high, none)],
        }
    }

    /// The differences of two rows from nibble `FIRST` on: of all nibbles, or of the lower or upper half.
    #[inline(always)]
    pub(super) fn differences<const FIRST: usize, const V: usize>(
        &self,
        pairs: A,
        [first, second]: [Words<A>; 2],
    ) -> [<A::S as Simd>::F; V] {
        let mut out = [pairs.simd().splat(0.0); V];
        if FIRST == 0 {
            let low = look_up(pairs, pairs.low_nibbles(first, second), self.low);
            out[..HALF].copy_from_slice(&low);
        }
        if FIRST + V == WORD_COLUMNS {
            let high = look_up(pairs, pairs.high_nibbles(first, second), self.high);
            out[V - HALF..].copy_from_slice(&high);
        }
        out
    }
}

#[inline(always)]
fn look_up<A: CodePairs>(pairs: A, nibbles: Words<A>, zeros: [Words<A>; 2]) -> [<A::S as Simd>::F; HALF] {
    let (even, odd) = (pairs.even(nibbles, zeros[0]), pairs.odd(nibbles, zeros[1]));
    [pairs.lower(even), pairs.lower(odd), pairs.upper(even), pairs.upper(odd)]
}
