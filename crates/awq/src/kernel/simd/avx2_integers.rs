//! Pairs of integers with AVX2, eight at a time, and with AVX-VNNI, which adds them up in the same instruction.
#![allow(unsafe_code, reason = "intrinsics; a value of `Avx2` or `Vnni` proves that the CPU has them")]

use std::arch::asm;
#[allow(clippy::wildcard_imports, reason = "a dozen intrinsics, all from one place")]
use std::arch::x86_64::*;

use super::avx2::Avx2;
use super::integers::{IntegerJob, IntegerPairs};
use super::{Aligned, Simd};
use crate::kernel::packed::{STRIP_COLUMNS, STRIP_WORDS};

const LANES: usize = Avx2::LANES;

/// How products of pairs are added to sums.
pub(super) trait Products: Copy {
    /// Adds them.
    fn add(self, codes: __m256i, left: __m256i, sums: __m256i) -> __m256i;
}

/// In an instruction of its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plain;

/// Proof that the CPU has AVX-VNNI; made by [`Vnni::detect`] alone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Vnni(());

/// Pairs of integers, multiplied in one of these ways.
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx2Pairs<P> {
    simd: Avx2,
    products: P,
}

/// Calls an intrinsic without memory operands.
macro_rules! register {
    ($call:expr) => {
        // SAFETY: the caller holds an `Avx2` or a `Vnni`, so the CPU has the instruction; it touches no memory.
        unsafe { $call }
    };
}

impl Products for Plain {
    #[inline(always)]
    fn add(self, codes: __m256i, left: __m256i, sums: __m256i) -> __m256i {
        register!(_mm256_add_epi32(sums, _mm256_madd_epi16(codes, left)))
    }
}

impl Vnni {
    /// The proof, if the CPU has the set.
    pub(super) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avxvnni").then_some(Self(()))
    }
}

// The intrinsic is for the compiler to choose: it often takes both steps of the plain way instead.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
fn add_dot(codes: __m256i, left: __m256i, mut sums: __m256i) -> __m256i {
    // SAFETY: the function's features have the instruction; it touches no memory.
    unsafe {
        asm!(
            "{{vex}} vpdpwssd {sums}, {codes}, {left}",
            sums = inout(ymm_reg) sums,
            codes = in(ymm_reg) codes,
            left = in(ymm_reg) left,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

impl Products for Vnni {
    #[inline(always)]
    fn add(self, codes: __m256i, left: __m256i, sums: __m256i) -> __m256i {
        register!(add_dot(codes, left, sums))
    }
}

impl Avx2Pairs<Plain> {
    /// What AVX2 has.
    #[inline(always)]
    pub(super) fn plain(simd: Avx2) -> Self {
        Self { simd, products: Plain }
    }

    /// Runs `job` with the set's instructions.
    #[inline(always)]
    pub(super) fn vectorize(self, job: impl IntegerJob) {
        #[target_feature(enable = "avx2,fma,f16c")]
        fn inner(pairs: Avx2Pairs<Plain>, job: impl IntegerJob) {
            job.run(pairs);
        }
        // SAFETY: the `Avx2` in `self` proves that the CPU has these features.
        unsafe { inner(self, job) }
    }
}

impl Avx2Pairs<Vnni> {
    /// The way, if the CPU has it.
    #[inline(always)]
    pub(super) fn detect(simd: Avx2) -> Option<Self> {
        Some(Self { simd, products: Vnni::detect()? })
    }

    /// Runs `job` with the set's instructions.
    #[inline(always)]
    pub(super) fn vectorize(self, job: impl IntegerJob) {
        #[target_feature(enable = "avx2,fma,f16c,avxvnni")]
        fn inner(pairs: Avx2Pairs<Vnni>, job: impl IntegerJob) {
            job.run(pairs);
        }
        // SAFETY: the `Avx2` and the `Vnni` in `self` prove that the CPU has these features.
        unsafe { inner(self, job) }
    }
}

impl<P: Products> IntegerPairs for Avx2Pairs<P> {
    type S = Avx2;

    #[inline(always)]
    fn simd(self) -> Avx2 {
        self.simd
    }

    #[inline(always)]
    fn first_words(self, first: __m256i, second: __m256i) -> __m256i {
        register!(_mm256_unpacklo_epi16(first, second))
    }

    #[inline(always)]
    fn last_words(self, first: __m256i, second: __m256i) -> __m256i {
        register!(_mm256_unpackhi_epi16(first, second))
    }

    // The last one would be a sign where it is.
    #[inline(always)]
    fn codes(self, halves: __m256i, nibble: usize) -> __m256i {
        register!(match nibble {
            3 => _mm256_srli_epi16::<12>(halves),
            _ => _mm256_and_si256(halves, _mm256_set1_epi16(15 << (4 * nibble))),
        })
    }

    #[inline(always)]
    fn splat_pair(self, pair: i32) -> __m256i {
        register!(_mm256_set1_epi32(pair))
    }

    #[inline(always)]
    fn add_products(self, codes: __m256i, left: __m256i, sums: __m256i) -> __m256i {
        self.products.add(codes, left, sums)
    }

    #[inline(always)]
    fn neg_mul(self, a: __m256i, b: __m256i) -> __m256i {
        register!(_mm256_sub_epi32(_mm256_setzero_si256(), _mm256_mullo_epi32(a, b)))
    }

    #[inline(always)]
    fn to_f32(self, sums: __m256i) -> __m256 {
        register!(_mm256_cvtepi32_ps(sums))
    }

    #[inline(always)]
    fn by_nibble(self, sums: &Aligned<STRIP_COLUMNS>) -> Aligned<STRIP_COLUMNS> {
        let simd = self.simd;
        let mut out = Aligned([0.0; STRIP_COLUMNS]);
        for (word, sums) in (0..STRIP_WORDS).step_by(LANES).zip(sums.0.chunks_exact(8 * LANES)) {
            for nibble in 0..4 {
                let first = simd.load(&sums[nibble * LANES..]);
                let last = simd.load(&sums[(4 + nibble) * LANES..]);
                let lower = register!(_mm256_shuffle_ps::<0b10_00_10_00>(first, last));
                let upper = register!(_mm256_shuffle_ps::<0b11_01_11_01>(first, last));
                simd.store(lower, &mut out.0[nibble * STRIP_WORDS + word..]);
                simd.store(upper, &mut out.0[(4 + nibble) * STRIP_WORDS + word..]);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernel::simd::Lanes;

    /// Sums of products of pairs, given as words.
    struct Sum<'a> {
        words: [&'a Lanes; 3],
        out: &'a mut Lanes,
    }

    impl IntegerJob for Sum<'_> {
        #[inline(always)]
        fn run<A: IntegerPairs>(self, pairs: A) {
            let [codes, left, sums] = self.words.map(|words| pairs.simd().load_words(words));
            pairs.simd().store_words(pairs.add_products(codes, left, sums), self.out);
        }
    }

    proptest! {
        #[test]
        fn both_ways_add_the_same_products(words in any::<[[u32; 16]; 3]>()) {
            let Some(simd) = Avx2::detect() else { return Ok(()) };
            let words = words.map(Lanes);
            let words = [&words[0], &words[1], &words[2]];
            let half = |word: u32, half: u32| (word << (16 - 16 * half)).cast_signed() >> 16;
            let mut expected = [0; LANES];
            for (lane, expected) in expected.iter_mut().enumerate() {
                let [codes, left, sums] = words.map(|words| words.0[lane]);
                let product = |at| (half(codes, at) * half(left, at)).cast_unsigned();
                *expected = sums.wrapping_add(product(0)).wrapping_add(product(1));
            }
            let mut out = Lanes([0; 16]);
            Avx2Pairs::plain(simd).vectorize(Sum { words, out: &mut out });
            prop_assert_eq!(&out.0[..LANES], &expected);
            if let Some(pairs) = Avx2Pairs::detect(simd) {
                out = Lanes([0; 16]);
                pairs.vectorize(Sum { words, out: &mut out });
                prop_assert_eq!(&out.0[..LANES], &expected);
            }
        }
    }
}
