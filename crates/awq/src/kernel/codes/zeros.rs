//! A strip of one group's zero points, and differences from them.

use crate::kernel::packed::WORD_COLUMNS;
use crate::kernel::simd::{Arithmetic, CodePairs, Simd, Words};

/// Half of a strip's vectors.
pub(super) const HALF: usize = WORD_COLUMNS / 2;

/// Half of the vectors of two rows: the right sides of a step.
pub(super) type Differences<A> = [<<A as Arithmetic>::S as Simd>::F; HALF];

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

    /// The differences of two rows in the first words of each four.
    #[inline(always)]
    pub(super) fn of_first_words(&self, pairs: A, [first, second]: [Words<A>; 2]) -> Differences<A> {
        look_up(pairs, pairs.first_words(first, second), self.first)
    }

    /// The same in the last words.
    #[inline(always)]
    pub(super) fn of_last_words(&self, pairs: A, [first, second]: [Words<A>; 2]) -> Differences<A> {
        look_up(pairs, pairs.last_words(first, second), self.last)
    }
}

#[inline(always)]
fn look_up<A: CodePairs>(pairs: A, nibbles: Words<A>, zeros: [Words<A>; 2]) -> Differences<A> {
    let (even, odd) = (pairs.even(nibbles, zeros[0]), pairs.odd(nibbles, zeros[1]));
    [pairs.lower(even), pairs.lower(odd), pairs.upper(even), pairs.upper(odd)]
}
