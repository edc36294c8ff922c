//! A strip of one group's zero points, and differences from them.

use crate::kernel::packed::WORD_COLUMNS;
use crate::kernel::simd::{CodePairs, Simd, Words};

/// Half of a strip's vectors.
pub(super) const HALF: usize = WORD_COLUMNS / 2;

/// Zero points as differences take them: of the first words of each four, and of the last.
#[derive(Clone, Copy)]
pub(super) struct Zeros<A: CodePairs> {
    first: [Words<A>; 2],
    last: [Words<A>; 2],
}

impl<A: CodePairs> Zeros<A> {
    /// Of a strip's words.
    #[inline(always)]
    pub(super) fn new(pairs: A, words: &[i32]) -> Self {
        let words = pairs.simd().words(words);
        let (first, last) = (pairs.first_words(words, words), pairs.last_words(words, words));
        let none = pairs.no_zeros();
        Self {
            first: [pairs.even(first, none), pairs.odd(first, none)],
            last: [pairs.even(last, none), pairs.odd(last, none)],
        }
    }

    /// The differences of two rows: all eight vectors of them, or the half from the one with number `FIRST` on.
    #[inline(always)]
    pub(super) fn differences<const FIRST: usize, const V: usize>(
        &self,
        pairs: A,
        [first, second]: [Words<A>; 2],
    ) -> [<A::S as Simd>::F; V] {
        let mut out = [pairs.simd().splat(0.0); V];
        if FIRST == 0 {
            let words = pairs.first_words(first, second);
            out[..HALF].copy_from_slice(&look_up(pairs, words, self.first));
        }
        if FIRST + V == WORD_COLUMNS {
            let words = pairs.last_words(first, second);
            out[V - HALF..].copy_from_slice(&look_up(pairs, words, self.last));
        }
        out
    }
}

#[inline(always)]
fn look_up<A: CodePairs>(pairs: A, nibbles: Words<A>, zeros: [Words<A>; 2]) -> [<A::S as Simd>::F; HALF] {
    let (even, odd) = (pairs.even(nibbles, zeros[0]), pairs.odd(nibbles, zeros[1]));
    [pairs.lower(even), pairs.lower(odd), pairs.upper(even), pairs.upper(odd)]
}
