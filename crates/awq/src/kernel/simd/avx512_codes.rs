//! Codes as pairs of bf16 terms with AVX-512 BW and BF16: a permutation of sixteen-bit lanes reads the low five bits
//! of each index, which hold any difference of codes as a number of two's complement.
#![allow(unsafe_code, reason = "intrinsics; a value of `Bf16Pairs` proves that the CPU has them")]

#[allow(clippy::wildcard_imports, reason = "many intrinsics, all from one place")]
use std::arch::x86_64::*;

use super::avx512_bf16::Bf16Pairs;
use super::{Aligned, Arithmetic as _, CodeJob, CodePairs, Simd as _};
use crate::kernel::packed::{NIBBLE_COLUMN, STRIP_COLUMNS, STRIP_WORDS, WORD_COLUMNS};

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

/// The lower halves of lanes.
const LOWER_HALVES: __mmask32 = 0x5555_5555;

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
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma,f16c")]
        fn inner(pairs: Bf16Pairs, job: impl CodeJob) {
            job.run(pairs);
        }
        // SAFETY: `self` proves that the CPU has these features.
        unsafe { inner(self, job) }
    }

    #[inline(always)]
    fn load_strip(self, words: &[i32], count: usize) -> __m512i {
        let words = &words[..count.min(STRIP_WORDS)];
        let mask = 0xffff_u16 >> (STRIP_WORDS - words.len());
        // SAFETY: the mask keeps the load within `words`.
        unsafe { _mm512_maskz_loadu_epi32(mask, words.as_ptr()) }
    }

    #[inline(always)]
    fn low_nibbles(self, first: __m512i, second: __m512i) -> __m512i {
        register!(_mm512_mask_mov_epi16(_mm512_slli_epi32::<16>(second), LOWER_HALVES, first))
    }

    #[inline(always)]
    fn high_nibbles(self, first: __m512i, second: __m512i) -> __m512i {
        register!(_mm512_mask_mov_epi16(second, LOWER_HALVES, _mm512_srli_epi32::<16>(first)))
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
    fn by_nibble(self, columns: &Aligned<STRIP_COLUMNS>) -> Aligned<STRIP_COLUMNS> {
        // The bits of a column's number: three for the vector and one of its lane's say the word, the lane's other three
        // the column in the word. Each round moves one bit of the vector's number to the top of the lane's, and the
        // lowest of the lane's to the vector's; then the vector is the column, and the lane the word.
        const EVEN: [u32; 16] = [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30];
        const ODD: [u32; 16] = [1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31];
        // SAFETY: the orders are of sixty-four bytes.
        let (even, odd) =
            unsafe { (_mm512_loadu_si512(EVEN.as_ptr().cast()), _mm512_loadu_si512(ODD.as_ptr().cast())) };
        let simd = self.simd();
        let mut vectors = [simd.splat(0.0); WORD_COLUMNS];
        for (vector, from) in vectors.iter_mut().zip(columns.0.chunks_exact(STRIP_WORDS)) {
            *vector = simd.load(from);
        }
        for bit in [1, 2, 4] {
            for at in 0..WORD_COLUMNS {
                if at & bit != 0 {
                    continue;
                }
                let (a, b) = (vectors[at], vectors[at | bit]);
                vectors[at] = register!(_mm512_permutex2var_ps(a, even, b));
                vectors[at | bit] = register!(_mm512_permutex2var_ps(a, odd, b));
            }
        }
        let mut out = Aligned([0.0; STRIP_COLUMNS]);
        for nibble in 0..WORD_COLUMNS {
            simd.store(vectors[NIBBLE_COLUMN[nibble]], &mut out.0[nibble * STRIP_WORDS..]);
        }
        out
    }
}
