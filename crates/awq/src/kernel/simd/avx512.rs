//! Vectors of sixteen with AVX-512 F, BW, VL and DQ.
#![allow(unsafe_code, reason = "intrinsics; a value of `Avx512` proves that the CPU has them")]

#[allow(clippy::wildcard_imports, reason = "fifty intrinsics, all from one place")]
use std::arch::x86_64::*;

use half::f16;

use super::avx512_bf16::Bf16Pairs;
use super::{Aligned, Amx, CODE_OFFSET, Lanes, Operation, SUMS, Simd, Table};
use crate::kernel::packed::{
    COLUMN_SHIFT, NIBBLE_COLUMN, Rounding, STRIP_COLUMNS, STRIP_WORDS, WORD_COLUMNS,
};

const LANES: usize = 16;

/// Proof that the CPU has the set; made by [`Avx512::detect`] and [`Avx512::with_amx`] alone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx512 {
    amx: Option<Amx>,
}

impl Avx512 {
    /// The proof, if the CPU has the set.
    pub(crate) fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        found.then_some(Self { amx: None })
    }

    /// The proof that it has AMX, too.
    pub(crate) fn with_amx() -> Option<Self> {
        let simd = Self::detect()?;
        Bf16Pairs::detect(simd)?;
        Amx::detect().map(|amx| Self { amx: Some(amx) })
    }

    /// AMX, if it was asked for.
    pub(super) fn amx(self) -> Option<Amx> {
        self.amx
    }
}

/// Calls an intrinsic without memory operands.
macro_rules! register {
    ($call:expr) => {
        // SAFETY: the caller holds an `Avx512`, so the CPU has the instruction; it touches no memory.
        unsafe { $call }
    };
}

impl Simd for Avx512 {
    type F = __m512;
    type U = __m512i;
    type Pairs = Bf16Pairs;
    const LANES: usize = LANES;
    const TILE_ROWS: usize = 14;
    const TILE_VECTORS: usize = 2;
    const REGISTERS: usize = 32;
    const FEW_ROWS: usize = 8;

    #[inline(always)]
    fn vectorize<O: Operation>(self, operation: O) -> O::Output {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c")]
        fn inner<O: Operation>(simd: Avx512, operation: O) -> O::Output {
            operation.run(simd)
        }
        // SAFETY: `self` proves that the CPU has these features.
        unsafe { inner(self, operation) }
    }

    #[inline(always)]
    fn pairs(self) -> Option<Self::Pairs> {
        Bf16Pairs::detect(self)
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        register!(_mm512_set1_ps(x))
    }

    #[inline(always)]
    fn load(self, from: &[f32]) -> Self::F {
        let from = &from[..LANES];
        // SAFETY: `from` holds LANES floats.
        unsafe { _mm512_loadu_ps(from.as_ptr()) }
    }

    #[inline(always)]
    fn store(self, x: Self::F, to: &mut [f32]) {
        let to = &mut to[..LANES];
        // SAFETY: `to` holds LANES floats.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), x) }
    }

    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        register!(_mm512_add_ps(a, b))
    }

    #[inline(always)]
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        register!(_mm512_sub_ps(a, b))
    }

    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        register!(_mm512_mul_ps(a, b))
    }

    #[inline(always)]
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        register!(_mm512_fmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn neg_mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        register!(_mm512_fnmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn sum(self, x: Self::F) -> f32 {
        register!(_mm512_reduce_add_ps(x))
    }

    #[inline(always)]
    fn sums(self, x: [Self::F; SUMS]) -> Aligned<SUMS> {
        // Two vectors become one, with half as many partial sums of each: first within quarters, then the quarters.
        let mut pairs = [self.splat(0.0); 8];
        for at in 0..8 {
            let (a, b) = (x[2 * at], x[2 * at + 1]);
            pairs[at] = register!(_mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b)));
        }
        let mut fours = [self.splat(0.0); 4];
        for at in 0..4 {
            fours[at] = register!({
                let (a, b) = (_mm512_castps_pd(pairs[2 * at]), _mm512_castps_pd(pairs[2 * at + 1]));
                let (low, high) = (_mm512_unpacklo_pd(a, b), _mm512_unpackhi_pd(a, b));
                _mm512_add_ps(_mm512_castpd_ps(low), _mm512_castpd_ps(high))
            });
        }
        let quarters = |a, b| {
            register!(_mm512_add_ps(
                _mm512_shuffle_f32x4::<0b10_00_10_00>(a, b),
                _mm512_shuffle_f32x4::<0b11_01_11_01>(a, b)
            ))
        };
        let mut out = Aligned([0.0; SUMS]);
        self.store(quarters(quarters(fours[0], fours[1]), quarters(fours[2], fours[3])), &mut out.0);
        out
    }

    #[inline(always)]
    fn round(self, x: Self::F, rounding: Rounding) -> Self::F {
        match rounding {
            Rounding::F16 => register!(_mm512_cvtph_ps(_mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x))),
            Rounding::Bf16 => register!({
                let bits = _mm512_castps_si512(x);
                let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
                let rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
                let quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x0040_0000));
                let chosen = _mm512_mask_mov_epi32(rounded, _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x), quiet);
                _mm512_castsi512_ps(_mm512_andnot_si512(_mm512_set1_epi32(0xffff), chosen))
            }),
            Rounding::F32 => x,
        }
    }

    #[inline(always)]
    fn load_f16(self, from: &[f16]) -> Self::F {
        let from = &from[..LANES];
        // SAFETY: `from` holds LANES halves, each a transparent u16.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.as_ptr().cast())) }
    }

    #[inline(always)]
    fn store_f16(self, x: Self::F, to: &mut [f16]) {
        let to = &mut to[..LANES];
        // SAFETY: `to` holds LANES halves, each a transparent u16.
        unsafe {
            let halves = _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x);
            _mm256_storeu_si256(to.as_mut_ptr().cast(), halves);
        }
    }

    #[inline(always)]
    fn zero_words(self) -> Self::U {
        register!(_mm512_setzero_si512())
    }

    #[inline(always)]
    fn load_words(self, from: &Lanes) -> Self::U {
        // SAFETY: `from` is sixteen words, aligned.
        unsafe { _mm512_load_si512(from.0.as_ptr().cast()) }
    }

    #[inline(always)]
    fn store_words(self, x: Self::U, to: &mut Lanes) {
        // SAFETY: `to` is sixteen words, aligned.
        unsafe { _mm512_store_si512(to.0.as_mut_ptr().cast(), x) }
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_wrap, reason = "at most eight nibbles")]
    fn skip(self, x: Self::U, nibbles: usize) -> Self::U {
        register!(_mm512_srl_epi32(x, _mm_cvtsi64_si128(4 * nibbles as i64)))
    }

    #[inline(always)]
    fn next(self, x: Self::U) -> Self::U {
        register!(_mm512_srli_epi32::<4>(x))
    }

    #[inline(always)]
    fn prefetch<T>(self, from: &[T], index: usize) {
        // SAFETY: a prefetch has no effect on memory, wherever it points.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.as_ptr().wrapping_add(index).cast()) };
    }

    // The permutation reads the low four bits of each index.
    #[inline(always)]
    fn lookup(self, table: &Table, x: Self::U) -> Self::F {
        let table = self.load(&table.0);
        register!(_mm512_permutexvar_ps(x, table))
    }

    #[inline(always)]
    fn transpose(self, words: &[i32], stride: usize, out: &mut [Self::U; STRIP_WORDS]) {
        let words = &words[..(LANES - 1) * stride + STRIP_WORDS];
        let mut rows = [self.zero_words(); LANES];
        for (index, row) in rows.iter_mut().enumerate() {
            // SAFETY: `words` reaches to the end of the last row's sixteen words.
            *row = unsafe { _mm512_loadu_si512(words.as_ptr().add(index * stride).cast()) };
        }
        // Pairs of rows, then fours, within each quarter of the vectors; then the quarters.
        let mut pairs = rows;
        for at in (0..LANES).step_by(2) {
            pairs[at] = register!(_mm512_unpacklo_epi32(rows[at], rows[at + 1]));
            pairs[at + 1] = register!(_mm512_unpackhi_epi32(rows[at], rows[at + 1]));
        }
        let mut fours = pairs;
        for at in (0..LANES).step_by(4) {
            fours[at] = register!(_mm512_unpacklo_epi64(pairs[at], pairs[at + 2]));
            fours[at + 1] = register!(_mm512_unpackhi_epi64(pairs[at], pairs[at + 2]));
            fours[at + 2] = register!(_mm512_unpacklo_epi64(pairs[at + 1], pairs[at + 3]));
            fours[at + 3] = register!(_mm512_unpackhi_epi64(pairs[at + 1], pairs[at + 3]));
        }
        // Quarter `part` of `fours[4 * block + column]` is word `4 * part + column` of rows `4 * block ..+ 4`.
        for column in 0..4 {
            let [a, b, c, d] = [fours[column], fours[column + 4], fours[column + 8], fours[column + 12]];
            let ab_even = register!(_mm512_shuffle_i32x4::<0b10_00_10_00>(a, b));
            let ab_odd = register!(_mm512_shuffle_i32x4::<0b11_01_11_01>(a, b));
            let cd_even = register!(_mm512_shuffle_i32x4::<0b10_00_10_00>(c, d));
            let cd_odd = register!(_mm512_shuffle_i32x4::<0b11_01_11_01>(c, d));
            out[column] = register!(_mm512_shuffle_i32x4::<0b10_00_10_00>(ab_even, cd_even));
            out[column + 4] = register!(_mm512_shuffle_i32x4::<0b10_00_10_00>(ab_odd, cd_odd));
            out[column + 8] = register!(_mm512_shuffle_i32x4::<0b11_01_11_01>(ab_even, cd_even));
            out[column + 12] = register!(_mm512_shuffle_i32x4::<0b11_01_11_01>(ab_odd, cd_odd));
        }
    }

    #[inline(always)]
    fn words(self, from: &[i32]) -> Self::U {
        let from = &from[..LANES];
        // SAFETY: `from` holds LANES words.
        unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
    }

    #[inline(always)]
    fn put_words(self, x: Self::U, to: &mut [i32]) {
        let to = &mut to[..LANES];
        // SAFETY: `to` holds LANES words.
        unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), x) }
    }

    #[inline(always)]
    fn codes_in_place(self, x: Self::U, nibble: usize) -> Self::F {
        register!({
            // (x & mask) | 2^23, whose last fraction bits count ones.
            let mask = _mm512_set1_epi32(15 << (4 * nibble));
            let offset = _mm512_castps_si512(_mm512_set1_ps(CODE_OFFSET));
            _mm512_castsi512_ps(_mm512_ternarylogic_epi32::<0b1111_1000>(offset, x, mask))
        })
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
        let mut vectors = [self.splat(0.0); WORD_COLUMNS];
        for (vector, from) in vectors.iter_mut().zip(columns.0.chunks_exact(STRIP_WORDS)) {
            *vector = self.load(from);
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
            self.store(vectors[NIBBLE_COLUMN[nibble]], &mut out.0[nibble * STRIP_WORDS..]);
        }
        out
    }

    #[inline(always)]
    fn by_column(self, nibbles: &Aligned<STRIP_COLUMNS>) -> Aligned<STRIP_COLUMNS> {
        // The rounds of `by_nibble`, undone.
        const LOWER: [u32; 16] = [0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23];
        const UPPER: [u32; 16] = [8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31];
        // SAFETY: the orders are of sixty-four bytes.
        let (lower, upper) =
            unsafe { (_mm512_loadu_si512(LOWER.as_ptr().cast()), _mm512_loadu_si512(UPPER.as_ptr().cast())) };
        let mut vectors = [self.splat(0.0); WORD_COLUMNS];
        for nibble in 0..WORD_COLUMNS {
            vectors[NIBBLE_COLUMN[nibble]] = self.load(&nibbles.0[nibble * STRIP_WORDS..]);
        }
        for bit in [4, 2, 1] {
            for at in 0..WORD_COLUMNS {
                if at & bit != 0 {
                    continue;
                }
                let (a, b) = (vectors[at], vectors[at | bit]);
                vectors[at] = register!(_mm512_permutex2var_ps(a, lower, b));
                vectors[at | bit] = register!(_mm512_permutex2var_ps(a, upper, b));
            }
        }
        let mut out = Aligned([0.0; STRIP_COLUMNS]);
        for (vector, to) in vectors.into_iter().zip(out.0.chunks_exact_mut(STRIP_WORDS)) {
            self.store(vector, to);
        }
        out
    }

    #[inline(always)]
    fn codes(self, words: &[i32; STRIP_WORDS], column: usize) -> Self::F {
        let first = column / WORD_COLUMNS;
        let [low, high] = [words[first], words[first + 1]];
        // SAFETY: there is a shift of four bytes for each of eight columns.
        let shifts = unsafe { _mm256_loadu_si256(COLUMN_SHIFT.as_ptr().cast()) };
        register!({
            let pair = _mm512_mask_set1_epi32(_mm512_set1_epi32(low), 0xff00, high);
            let shifts = _mm512_broadcast_i64x4(shifts);
            let shifted = _mm512_srlv_epi32(pair, shifts);
            // (shifted & 15) | 2^23, whose last fraction bits count ones.
            let [mask, offset] = [_mm512_set1_epi32(15), _mm512_castps_si512(_mm512_set1_ps(CODE_OFFSET))];
            _mm512_castsi512_ps(_mm512_ternarylogic_epi32::<0b1111_1000>(offset, shifted, mask))
        })
    }
}
