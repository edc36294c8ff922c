//! Terms of bf16 with AVX-512 BF16.
#![allow(unsafe_code, reason = "intrinsics; a value of `Bf16Pairs` proves that the CPU has them")]

#[allow(clippy::wildcard_imports, reason = "many intrinsics, all from one place")]
use std::arch::x86_64::*;

use super::avx512_bf16::Bf16Pairs;
use super::{Aligned, Arithmetic, PairTerms, Simd, TERM_STEPS, TILE};
use crate::kernel::element::Element;
use crate::kernel::panel::PANEL;

/// Calls an intrinsic without memory operands.
macro_rules! register {
    ($call:expr) => {
        // SAFETY: the caller holds a `Bf16Pairs`, so the CPU has the instruction; it touches no memory.
        unsafe { $call }
    };
}

impl PairTerms for Bf16Pairs {
    #[inline(always)]
    fn pack_terms<T: Element>(self, from: &[T], to: &mut [Aligned<TILE>]) {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma,f16c")]
        fn inner<T: Element>(pairs: Bf16Pairs, from: &[T], to: &mut [Aligned<TILE>]) {
            pairs.pack(from, to);
        }
        // SAFETY: `self` proves that the CPU has these features.
        unsafe { inner(self, from, to) }
    }

    #[inline(always)]
    fn pair_terms(self, panel: &[Aligned<PANEL>], to: &mut [Aligned<PANEL>]) {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma,f16c")]
        fn inner(pairs: Bf16Pairs, panel: &[Aligned<PANEL>], to: &mut [Aligned<PANEL>]) {
            pairs.pair(panel, to);
        }
        // SAFETY: `self` proves that the CPU has these features.
        unsafe { inner(self, panel, to) }
    }
}

impl Bf16Pairs {
    #[inline(always)]
    fn pack<T: Element>(self, from: &[T], to: &mut [Aligned<TILE>]) {
        let simd = self.simd();
        for (index, from) in from.chunks(2 * TILE).enumerate() {
            let mut wide = Aligned([0.0; 2 * TILE]);
            match from.first_chunk::<{ 2 * TILE }>() {
                Some(from) => T::widen(simd, from, &mut wide.0),
                None => T::widen(simd, from, &mut wide.0[..from.len()]),
            }
            let mut halves = [simd.load(&wide.0), simd.load(&wide.0[TILE..])];
            for term in 0..T::BF16_TERMS {
                let bits = self.take_term(&mut halves);
                let to = &mut to[(index * T::BF16_TERMS + term) * TILE];
                simd.store(register!(_mm512_castsi512_ps(bits)), &mut to.0);
            }
        }
    }

    #[inline(always)]
    fn pair(self, panel: &[Aligned<PANEL>], to: &mut [Aligned<PANEL>]) {
        let simd = self.simd();
        let (first, second) = to.split_at_mut(TERM_STEPS);
        for ((rows, first), second) in panel.as_chunks::<2>().0.iter().zip(first).zip(second) {
            for at in (0..PANEL).step_by(TILE) {
                let mut halves = [simd.load(&rows[0].0[at..]), simd.load(&rows[1].0[at..])];
                for to in [&mut *first, &mut *second] {
                    let bits = self.take_term(&mut halves);
                    simd.store(self.interleaved(bits), &mut to.0[at..]);
                }
            }
        }
    }

    /// Rounds both vectors to bf16, which is returned, the first one in the lower half, and leaves what that takes away.
    #[inline(always)]
    fn take_term(self, halves: &mut [__m512; 2]) -> __m512i {
        let simd = self.simd();
        // SAFETY: `self` proves that the CPU has the instructions; they touch no memory. Vectors of bf16 are bits.
        let (bits, rounded) = unsafe {
            let bits = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(halves[1], halves[0]));
            let lower = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(bits));
            let upper = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64::<1>(bits));
            let lower = _mm512_castsi512_ps(_mm512_slli_epi32::<16>(lower));
            (bits, [lower, _mm512_castsi512_ps(_mm512_slli_epi32::<16>(upper))])
        };
        halves[0] = simd.sub(halves[0], rounded[0]);
        halves[1] = simd.sub(halves[1], rounded[1]);
        bits
    }
}
