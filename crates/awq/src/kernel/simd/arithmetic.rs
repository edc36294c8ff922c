//! How products are multiplied out over panels: term by term in f32, or in pairs of bf16 terms.
//!
//! Either way a step of the inner loop takes four bytes of a row of the left matrix, repeats them in all lanes, and
//! takes a vector of four-byte lanes of the right one: one f32 term each, or two bf16 terms, the first in the lower
//! half. Both are kept as f32, whose bits are what counts.

use super::{Aligned, Amx, Operation, Simd, Table};
use crate::kernel::element::Element;
use crate::kernel::packed::WORD_COLUMNS;

/// Work to be compiled once for each way.
pub(crate) trait Job {
    /// Does it; `inline(always)`.
    fn run<A: Arithmetic>(self, arithmetic: A);
}

/// One way to multiply, on one instruction set.
pub(crate) trait Arithmetic: Copy {
    /// The instruction set.
    type S: Simd;
    /// Terms in a step.
    const TERMS: usize;

    /// The instruction set.
    fn simd(self) -> Self::S;
    /// Products of whole tiles of its steps, if the CPU has such.
    #[inline(always)]
    fn amx(self) -> Option<Amx> {
        None
    }
    /// Runs `job` with the instructions it needs.
    fn vectorize(self, job: impl Job);
    /// Writes the right side of term `term` of a step; a step's terms are written in order.
    fn place(self, weights: <Self::S as Simd>::F, term: usize, to: &mut [f32]);
    /// Both terms of a step, where it has two.
    #[inline(always)]
    fn place_pair(self, first: <Self::S as Simd>::F, second: <Self::S as Simd>::F, to: &mut [f32]) {
        self.place(first, 0, to);
        self.place(second, 1, to);
    }
    /// Makes the tables of a word's nibbles those that [`Arithmetic::look_up`] takes.
    fn join(self, tables: &mut [Table; WORD_COLUMNS]);
    /// Writes the right sides of a word's steps, in the order of its columns, from lane `at` on, with a row in each lane.
    fn look_up<const N: usize>(
        self,
        tables: &[Table; WORD_COLUMNS],
        words: <Self::S as Simd>::U,
        to: &mut [Aligned<N>],
        at: usize,
    );
    /// [`Arithmetic::place`] for one column.
    fn place_one(self, weight: f32, term: usize, to: &mut f32);
    /// `total` and all terms of a step.
    fn step(
        self,
        left: f32,
        right: <Self::S as Simd>::F,
        total: <Self::S as Simd>::F,
    ) -> <Self::S as Simd>::F;
}

/// Which activations a way takes.
pub(crate) trait PackLeft<T> {
    /// Turns a row of terms into steps; a step that is not full gets a term of zero.
    fn pack_left(self, from: &[T], to: &mut [f32]);
}

/// f32, term by term.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Single<S>(pub(crate) S);

struct Singly<S, J>(Single<S>, J);

impl<S: Simd, J: Job> Operation for Singly<S, J> {
    type Output = ();

    #[inline(always)]
    fn run<Same: Simd>(self, _: Same) {
        self.1.run(self.0);
    }
}

impl<S: Simd> Arithmetic for Single<S> {
    type S = S;
    const TERMS: usize = 1;

    #[inline(always)]
    fn simd(self) -> S {
        self.0
    }

    #[inline(always)]
    fn vectorize(self, job: impl Job) {
        self.0.vectorize(Singly(self, job));
    }

    #[inline(always)]
    fn place(self, weights: S::F, _: usize, to: &mut [f32]) {
        self.0.store(weights, to);
    }

    #[inline(always)]
    fn join(self, _: &mut [Table; WORD_COLUMNS]) {}

    #[inline(always)]
    fn look_up<const N: usize>(
        self,
        tables: &[Table; WORD_COLUMNS],
        words: S::U,
        to: &mut [Aligned<N>],
        at: usize,
    ) {
        // The lower nibbles hold the even columns, the upper ones their right neighbours.
        let (even_tables, odd_tables) = tables.split_at(WORD_COLUMNS / 2);
        let (mut even, mut odd) = (words, self.0.skip(words, WORD_COLUMNS / 2));
        for ((even_table, odd_table), to) in even_tables.iter().zip(odd_tables).zip(to.as_chunks_mut::<2>().0)
        {
            self.0.store(self.0.lookup(even_table, even), &mut to[0].0[at..]);
            self.0.store(self.0.lookup(odd_table, odd), &mut to[1].0[at..]);
            (even, odd) = (self.0.next(even), self.0.next(odd));
        }
    }

    #[inline(always)]
    fn place_one(self, weight: f32, _: usize, to: &mut f32) {
        *to = weight;
    }

    #[inline(always)]
    fn step(self, left: f32, right: S::F, total: S::F) -> S::F {
        self.0.mul_add(self.0.splat(left), right, total)
    }
}

impl<S: Simd, T: Element> PackLeft<T> for Single<S> {
    #[inline(always)]
    fn pack_left(self, from: &[T], to: &mut [f32]) {
        T::widen(self.0, from, &mut to[..from.len()]);
    }
}
