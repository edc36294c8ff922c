//! Codes as pairs of bf16 terms with AVX-512 BW and BF16: a permutation of sixteen-bit lanes reads the low five bits
//! of each index, which hold any difference of codes as a number of two's complement.
#![allow(unsafe_code, reason = "intrinsics; a value of `Bf16Pairs` proves that the CPU has them")]

#[allow(clippy::wildcard_imports, reason = "many intrinsics, all from one place")]
use std::arch::x86_64::*;

use super::avx512_bf16::Bf16Pairs;
use super::{Aligned, Arithmetic, CodeJob, CodePairs, Simd};
use crate::kernel::packed::{STRIP_COLUMNS, STRIP_WORDS};

/// Sums of half a strip.
const HALF: usize = STRIP_COLUMNS / 2;

/// bf16 of -16 to 15, found by the low five bits.
const DIFFERENCES: [u16; 32] = {
    let mut table = [0; 32];
    let mut difference = -16i8;
    while difference < 16 {
        table[(difference & 31).cast_unsigned() as usize] = ((difference as f32).to_bits() >> 16) as u16;
        difference += 1;
    }
    table
};

/// Calls an intrinsic without memory operands.
macro_rules! register {
    ($call:expr) => {
        // SAFETY: the caller holds a `Bf16Pairs`, so the CPU has the instruction; it touches no memory.
        unsafe { $call }
    };
}

impl Bf16Pairs {
    #[inline(always)]
    #[expect(clippy::unused_self, reason = "the proof")]
    fn look_up(self, index: __m512i) -> __m512 {
        // SAFETY: the table is of sixty-four bytes; `self` proves that the CPU has the instructions.
        unsafe {
            let table = _mm512_loadu_si512(DIFFERENCES.as_ptr().cast());
            _mm512_castsi512_ps(_mm512_permutexvar_epi16(index, table))
        }
    }
}

impl CodePairs for Bf16Pairs {
    #[inline(always)]
    fn vectorize_codes(self, job: impl CodeJob) {
        #[inline(never)]
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma,f16c")]
        fn inner(pairs: Bf16Pairs, job: impl CodeJob) {
            job.run(pairs);
        }
        // SAFETY: `self` proves that the CPU has these features.
        unsafe { inner(self, job) }
    }

    #[inline(always)]
    fn first_words(self, first: __m512i, second: __m512i) -> __m512i {
        register!(_mm512_unpacklo_epi16(first, second))
    }

    #[inline(always)]
    fn last_words(self, first: __m512i, second: __m512i) -> __m512i {
        register!(_mm512_unpackhi_epi16(first, second))
    }

    #[inline(always)]
    fn even(self, nibbles: __m512i, zeros: __m512i) -> __m512i {
        register!(_mm512_sub_epi8(_mm512_and_si512(nibbles, _mm512_set1_epi8(15)), zeros))
    }

    #[inline(always)]
    fn odd(self, nibbles: __m512i, zeros: __m512i) -> __m512i {
        self.even(register!(_mm512_srli_epi16::<4>(nibbles)), zeros)
    }

    #[inline(always)]
    fn lower(self, differences: __m512i) -> __m512 {
        self.look_up(differences)
    }

    #[inline(always)]
    fn upper(self, differences: __m512i) -> __m512 {
        self.look_up(register!(_mm512_srli_epi16::<8>(differences)))
    }

    #[inline(always)]
    fn no_zeros(self) -> __m512i {
        register!(_mm512_setzero_si512())
    }

    #[inline(always)]
    fn paired(self, by_nibble: &Aligned<STRIP_COLUMNS>) -> Aligned<STRIP_COLUMNS> {
        let simd = self.simd();
        let mut out = Aligned([0.0; STRIP_COLUMNS]);
        for at in (0..HALF).step_by(STRIP_WORDS) {
            let (low, high) = (simd.load(&by_nibble.0[at..]), simd.load(&by_nibble.0[HALF + at..]));
            simd.store(register!(_mm512_unpacklo_ps(low, high)), &mut out.0[at..]);
            simd.store(register!(_mm512_unpackhi_ps(low, high)), &mut out.0[HALF + at..]);
        }
        out
    }

    #[inline(always)]
    fn by_nibble(self, paired: &Aligned<STRIP_COLUMNS>) -> Aligned<STRIP_COLUMNS> {
        let simd = self.simd();
        let mut out = Aligned([0.0; STRIP_COLUMNS]);
        for at in (0..HALF).step_by(STRIP_WORDS) {
            let (first, last) = (simd.load(&paired.0[at..]), simd.load(&paired.0[HALF + at..]));
            simd.store(register!(_mm512_shuffle_ps::<0b10_00_10_00>(first, last)), &mut out.0[at..]);
            simd.store(register!(_mm512_shuffle_ps::<0b11_01_11_01>(first, last)), &mut out.0[HALF + at..]);
        }
        out
    }
}
