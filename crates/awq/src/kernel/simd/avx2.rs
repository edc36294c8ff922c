//! Vectors of eight with AVX2, FMA and F16C.
#![allow(unsafe_code, reason = "intrinsics; a value of `Avx2` proves that the CPU has them")]

#[allow(clippy::wildcard_imports, reason = "fifty intrinsics, all from one place")]
use std::arch::x86_64::*;

use half::f16;

use super::avx2_integers::Avx2Pairs;
use super::{Absent, Aligned, CODE_OFFSET, IntegerJob, Lanes, Operation, Simd, Table};
use crate::kernel::packed::{
    COLUMN_SHIFT, NIBBLE_COLUMN, Rounding, STRIP_COLUMNS, STRIP_WORDS, WORD_COLUMNS,
};

const LANES: usize = 8;

/// Proof that the CPU has the set; made by [`Avx2::detect`] alone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx2(());

impl Avx2 {
    /// The proof, if the CPU has the set.
    pub(crate) fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        found.then_some(Self(()))
    }
}

/// Calls an intrinsic without memory operands.
macro_rules! register {
    ($call:expr) => {
        // SAFETY: the caller holds an `Avx2`, so the CPU has the instruction; it touches no memory.
        unsafe { $call }
    };
}

impl Avx2 {
    /// Eight rows of eight, turned: pairs of rows, then fours, within the halves of vectors; then the halves.
    #[inline(always)]
    #[expect(clippy::unused_self, reason = "the proof")]
    fn turned(self, rows: [__m256; LANES]) -> [__m256; LANES] {
        register!({
            let mut fours = rows;
            for half in [0, 4] {
                let [a, b, c, d] = [0, 1, 2, 3].map(|row| rows[half + row]);
                let (low, high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
                let (next_low, next_high) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
                fours[half] = _mm256_shuffle_ps::<0b01_00_01_00>(low, next_low);
                fours[half + 1] = _mm256_shuffle_ps::<0b11_10_11_10>(low, next_low);
                fours[half + 2] = _mm256_shuffle_ps::<0b01_00_01_00>(high, next_high);
                fours[half + 3] = _mm256_shuffle_ps::<0b11_10_11_10>(high, next_high);
            }
            let mut turned = rows;
            for column in 0..4 {
                turned[column] = _mm256_permute2f128_ps::<0x20>(fours[column], fours[4 + column]);
                turned[4 + column] = _mm256_permute2f128_ps::<0x31>(fours[column], fours[4 + column]);
            }
            turned
        })
    }
}

impl Simd for Avx2 {
    type F = __m256;
    type U = __m256i;
    type Pairs = Absent<Self>;
    const LANES: usize = LANES;
    const TILE_ROWS: usize = 6;
    const TILE_VECTORS: usize = 2;
    const REGISTERS: usize = 16;
    const FEW_ROWS: usize = 4;

    #[inline(always)]
    fn vectorize<O: Operation>(self, operation: O) -> O::Output {
        #[target_feature(enable = "avx2,fma,f16c")]
        fn inner<O: Operation>(simd: Avx2, operation: O) -> O::Output {
            operation.run(simd)
        }
        // SAFETY: `self` proves that the CPU has these features.
        unsafe { inner(self, operation) }
    }

    #[inline(always)]
    fn pairs(self) -> Option<Self::Pairs> {
        None
    }

    #[inline(always)]
    fn integer_rows(self) -> usize {
        if Avx2Pairs::detect(self).is_some() { 2 } else { 1 }
    }

    #[inline(always)]
    fn vectorize_integers(self, job: impl IntegerJob) {
        match Avx2Pairs::detect(self) {
            Some(pairs) => pairs.vectorize(job),
            None => Avx2Pairs::plain(self).vectorize(job),
        }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        register!(_mm256_set1_ps(x))
    }

    #[inline(always)]
    fn load(self, from: &[f32]) -> Self::F {
        let from = &from[..LANES];
        // SAFETY: `from` holds LANES floats.
        unsafe { _mm256_loadu_ps(from.as_ptr()) }
    }

    #[inline(always)]
    fn store(self, x: Self::F, to: &mut [f32]) {
        let to = &mut to[..LANES];
        // SAFETY: `to` holds LANES floats.
        unsafe { _mm256_storeu_ps(to.as_mut_ptr(), x) }
    }

    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        register!(_mm256_add_ps(a, b))
    }

    #[inline(always)]
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        register!(_mm256_sub_ps(a, b))
    }

    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        register!(_mm256_mul_ps(a, b))
    }

    #[inline(always)]
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        register!(_mm256_fmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn neg_mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        register!(_mm256_fnmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn sum(self, x: Self::F) -> f32 {
        register!({
            let four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
        })
    }

    #[inline(always)]
    fn round(self, x: Self::F, rounding: Rounding) -> Self::F {
        match rounding {
            Rounding::F16 => register!(_mm256_cvtph_ps(_mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x))),
            Rounding::Bf16 => register!({
                let bits = _mm256_castps_si256(x);
                let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
                let rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
                let quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x0040_0000));
                let nan = _mm256_cmp_ps::<_CMP_UNORD_Q>(x, x);
                let chosen = _mm256_blendv_epi8(rounded, quiet, _mm256_castps_si256(nan));
                _mm256_castsi256_ps(_mm256_andnot_si256(_mm256_set1_epi32(0xffff), chosen))
            }),
            Rounding::F32 => x,
        }
    }

    #[inline(always)]
    fn load_f16(self, from: &[f16]) -> Self::F {
        let from = &from[..LANES];
        // SAFETY: `from` holds LANES halves, each a transparent u16.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.as_ptr().cast())) }
    }

    #[inline(always)]
    fn store_f16(self, x: Self::F, to: &mut [f16]) {
        let to = &mut to[..LANES];
        // SAFETY: `to` holds LANES halves, each a transparent u16.
        unsafe {
            let halves = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x);
            _mm_storeu_si128(to.as_mut_ptr().cast(), halves);
        }
    }

    #[inline(always)]
    fn zero_words(self) -> Self::U {
        register!(_mm256_setzero_si256())
    }

    #[inline(always)]
    fn load_words(self, from: &Lanes) -> Self::U {
        // SAFETY: `from` is sixteen words, aligned.
        unsafe { _mm256_load_si256(from.0.as_ptr().cast()) }
    }

    #[inline(always)]
    fn store_words(self, x: Self::U, to: &mut Lanes) {
        // SAFETY: `to` is sixteen words, aligned.
        unsafe { _mm256_store_si256(to.0.as_mut_ptr().cast(), x) }
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_wrap, reason = "at most eight nibbles")]
    fn skip(self, x: Self::U, nibbles: usize) -> Self::U {
        register!(_mm256_srl_epi32(x, _mm_cvtsi64_si128(4 * nibbles as i64)))
    }

    #[inline(always)]
    fn next(self, x: Self::U) -> Self::U {
        register!(_mm256_srli_epi32::<4>(x))
    }

    #[inline(always)]
    fn prefetch<T>(self, from: &[T], index: usize) {
        // SAFETY: a prefetch has no effect on memory, wherever it points.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.as_ptr().wrapping_add(index).cast()) };
    }

    // The permutations read the low three bits of each index; the fourth chooses between them.
    #[inline(always)]
    fn lookup(self, table: &Table, x: Self::U) -> Self::F {
        let [low, high] = [self.load(&table.0[..LANES]), self.load(&table.0[LANES..])];
        register!({
            let low = _mm256_permutevar8x32_ps(low, x);
            let high = _mm256_permutevar8x32_ps(high, x);
            _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32::<28>(x)))
        })
    }

    #[inline(always)]
    fn transpose(self, words: &[i32], stride: usize, out: &mut [Self::U; STRIP_WORDS]) {
        let words = &words[..(LANES - 1) * stride + STRIP_WORDS];
        for half in 0..2 {
            let mut rows = [self.zero_words(); LANES];
            for (index, row) in rows.iter_mut().enumerate() {
                // SAFETY: `words` reaches to the end of the last row's sixteen words, two halves of eight.
                *row =
                    unsafe { _mm256_loadu_si256(words.as_ptr().add(index * stride + half * LANES).cast()) };
            }
            // Pairs of rows, then fours, within each half of the vectors; then the halves.
            let mut pairs = rows;
            for at in (0..LANES).step_by(2) {
                pairs[at] = register!(_mm256_unpacklo_epi32(rows[at], rows[at + 1]));
                pairs[at + 1] = register!(_mm256_unpackhi_epi32(rows[at], rows[at + 1]));
            }
            let mut fours = pairs;
            for at in [0, 4] {
                fours[at] = register!(_mm256_unpacklo_epi64(pairs[at], pairs[at + 2]));
                fours[at + 1] = register!(_mm256_unpackhi_epi64(pairs[at], pairs[at + 2]));
                fours[at + 2] = register!(_mm256_unpacklo_epi64(pairs[at + 1], pairs[at + 3]));
                fours[at + 3] = register!(_mm256_unpackhi_epi64(pairs[at + 1], pairs[at + 3]));
            }
            for column in 0..4 {
                let [a, b] = [fours[column], fours[column + 4]];
                out[half * LANES + column] = register!(_mm256_permute2x128_si256::<0x20>(a, b));
                out[half * LANES + column + 4] = register!(_mm256_permute2x128_si256::<0x31>(a, b));
            }
        }
    }

    #[inline(always)]
    fn words(self, from: &[i32]) -> Self::U {
        let from = &from[..LANES];
        // SAFETY: `from` holds LANES words.
        unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
    }

    #[inline(always)]
    fn put_words(self, x: Self::U, to: &mut [i32]) {
        let to = &mut to[..LANES];
        // SAFETY: `to` holds LANES words.
        unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), x) }
    }

    #[inline(always)]
    fn codes_in_place(self, x: Self::U, nibble: usize) -> Self::F {
        register!({
            // 2^23, whose last fraction bits count ones.
            let offset = _mm256_castps_si256(_mm256_set1_ps(CODE_OFFSET));
            let mask = _mm256_set1_epi32(15 << (4 * nibble));
            _mm256_castsi256_ps(_mm256_or_si256(_mm256_and_si256(x, mask), offset))
        })
    }

    #[inline(always)]
    fn by_nibble(self, columns: &Aligned<STRIP_COLUMNS>) -> Aligned<STRIP_COLUMNS> {
        let mut out = Aligned([0.0; STRIP_COLUMNS]);
        for first in (0..STRIP_WORDS).step_by(LANES) {
            // Rows are words, and become lanes.
            let mut rows = [self.splat(0.0); LANES];
            for (word, row) in rows.iter_mut().enumerate() {
                *row = self.load(&columns.0[(first + word) * WORD_COLUMNS..]);
            }
            let turned = self.turned(rows);
            for (nibble, column) in NIBBLE_COLUMN.into_iter().enumerate() {
                self.store(turned[column], &mut out.0[nibble * STRIP_WORDS + first..]);
            }
        }
        out
    }

    #[inline(always)]
    fn codes(self, words: &[i32; STRIP_WORDS], column: usize) -> Self::F {
        let word = words[column / WORD_COLUMNS];
        // SAFETY: there is a shift of four bytes for each of eight columns.
        let shifts = unsafe { _mm256_loadu_si256(COLUMN_SHIFT.as_ptr().cast()) };
        register!({
            let shifted = _mm256_srlv_epi32(_mm256_set1_epi32(word), shifts);
            // 2^23, whose last fraction bits count ones.
            let offset = _mm256_castps_si256(_mm256_set1_ps(CODE_OFFSET));
            let nibbles = _mm256_and_si256(shifted, _mm256_set1_epi32(15));
            _mm256_castsi256_ps(_mm256_or_si256(nibbles, offset))
        })
    }
}
