//! The way for pairs of bf16 terms of a set that has none, and the tiles of a CPU that has none: types without values.

use std::convert::Infallible;
use std::marker::PhantomData;

use half::bf16;

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
pub(crate) use self::no_amx::{Amx, AmxSetUp};
use super::{Aligned, Arithmetic, CodeJob, CodePairs, Job, PackLeft, PairTerms, Simd, TILE, Table};
use crate::kernel::element::Element;
use crate::kernel::packed::{STRIP_COLUMNS, WORD_COLUMNS};
use crate::kernel::panel::PANEL;

/// Never made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Absent<S>(Infallible, PhantomData<S>);

impl<S: Simd> Arithmetic for Absent<S> {
    type S = S;
    const TERMS: usize = 1;

    fn simd(self) -> S {
        match self.0 {}
    }
    fn vectorize(self, _: impl Job) {
        match self.0 {}
    }
    fn place(self, _: S::F, _: usize, _: &mut [f32]) {
        match self.0 {}
    }
    fn join(self, _: &mut [Table; WORD_COLUMNS]) {
        match self.0 {}
    }
    fn look_up<const N: usize>(self, _: &[Table; WORD_COLUMNS], _: S::U, _: &mut [Aligned<N>], _: usize) {
        match self.0 {}
    }
    fn place_one(self, _: f32, _: usize, _: &mut f32) {
        match self.0 {}
    }
    fn step(self, _: f32, _: S::F, _: S::F) -> S::F {
        match self.0 {}
    }
}

impl<S: Simd> PackLeft<bf16> for Absent<S> {
    fn pack_left(self, _: &[bf16], _: &mut [f32]) {
        match self.0 {}
    }
}

impl<S: Simd> CodePairs for Absent<S> {
    fn vectorize_codes(self, _: impl CodeJob) {
        match self.0 {}
    }
    fn first_words(self, _: S::U, _: S::U) -> S::U {
        match self.0 {}
    }
    fn last_words(self, _: S::U, _: S::U) -> S::U {
        match self.0 {}
    }
    fn even(self, _: S::U, _: S::U) -> S::U {
        match self.0 {}
    }
    fn odd(self, _: S::U, _: S::U) -> S::U {
        match self.0 {}
    }
    fn lower(self, _: S::U) -> S::F {
        match self.0 {}
    }
    fn upper(self, _: S::U) -> S::F {
        match self.0 {}
    }
    fn no_zeros(self) -> S::U {
        match self.0 {}
    }
    fn paired(self, _: &Aligned<STRIP_COLUMNS>) -> Aligned<STRIP_COLUMNS> {
        match self.0 {}
    }
    fn by_nibble(self, _: &Aligned<STRIP_COLUMNS>) -> Aligned<STRIP_COLUMNS> {
        match self.0 {}
    }
}

impl<S: Simd> PairTerms for Absent<S> {
    fn pack_terms<T: Element>(self, _: &[T], _: &mut [Aligned<TILE>]) {
        match self.0 {}
    }
    fn pair_terms(self, _: &[Aligned<PANEL>], _: &mut [Aligned<PANEL>]) {
        match self.0 {}
    }
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
mod no_amx {
    use std::convert::Infallible;

    use crate::kernel::panel::PANEL;
    use crate::kernel::simd::{Aligned, Begin, TILE};

    /// Never made.
    #[derive(Debug, Clone, Copy)]
    pub(crate) struct Amx(Infallible);

    /// Never made, either.
    pub(crate) type AmxSetUp = Amx;

    impl Amx {
        #[cfg(target_arch = "x86_64")]
        pub(crate) fn detect() -> Option<Self> {
            None
        }

        pub(crate) fn set_up(self, _: usize) -> AmxSetUp {
            self
        }

        pub(crate) fn add<const N: usize, const COLUMNS: usize>(
            &self,
            _: Begin,
            _: &[Aligned<TILE>],
            _: &[Aligned<N>],
            _: &mut [Aligned<COLUMNS>],
            _: usize,
        ) {
            match self.0 {}
        }

        pub(crate) fn add_terms<const COLUMNS: usize>(
            &self,
            _: Begin,
            _: &[Aligned<TILE>],
            _: &[Aligned<PANEL>],
            _: usize,
            _: [&mut [Aligned<COLUMNS>]; 2],
            _: usize,
        ) {
            match self.0 {}
        }
    }
}
