//! Vectors of f32, one implementation for each instruction set; what is simple enough is left to the compiler.

use super::element::Element;
use half::bf16;
#[cfg(target_arch = "x86_64")]
#[allow(clippy::wildcard_imports, reason = "many intrinsics, all from one place")]
use std::arch::x86_64::*;

/// Work to be compiled once for each instruction set; all that it calls is `inline(always)`.
pub(super) trait Job {
    fn run<S: Simd>(self, simd: S);
}

/// One instruction set; a value is the proof that the CPU has it. Slices shorter than a vector panic.
pub(super) trait Simd: Copy {
    /// `LANES` f32.
    type F: Copy;
    const LANES: usize;
    /// Rows of a tile of sums that is two vectors wide.
    const TILE_ROWS: usize;
    /// Rows of a tile of dot products with four other rows.
    const DOT_ROWS: usize;

    fn splat(self, x: f32) -> Self::F;
    /// The first elements.
    fn load(self, from: &[f32]) -> Self::F;
    /// Those from `at` on.
    ///
    /// # Safety
    /// `at + LANES` is at most the length.
    unsafe fn load_at(self, from: &[f32], at: usize) -> Self::F;
    /// The same of bf16, widened.
    ///
    /// # Safety
    /// `at + LANES` is at most the length.
    unsafe fn load_bf16_at(self, from: &[bf16], at: usize) -> Self::F;
    /// Into the first elements.
    fn store(self, x: Self::F, to: &mut [f32]);
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a[0] + a[1]`, `a[2] + a[3]` and so on, then the same of `b`.
    fn add_neighbours(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`.
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// The sum of all lanes, always in the same order.
    fn sum(self, x: Self::F) -> f32;
    /// The sum of all lanes of each vector, always in the same order, which need not be that of `sum`: vectors that are
    /// added up together take fewer instructions.
    fn four_sums(self, x: [Self::F; 4]) -> [f32; 4];
    /// Asks for the cache line of an element, which may lie beyond the end.
    fn prefetch<T>(self, from: &[T], index: usize);
    /// The columns of the first eight elements of eight rows.
    fn transposed(self, rows: [&[f32]; 8]) -> [[f32; 8]; 8];
}

/// Runs `job` with the best set that the CPU has.
pub(super) fn dispatch(job: impl Job) {
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = Avx512::detect() {
        return simd.vectorize(job);
    }
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = Avx2::detect() {
        return simd.vectorize(job);
    }
    job.run(Portable);
}

/// Plain Rust.
#[derive(Debug, Clone, Copy)]
pub(super) struct Portable;

impl Simd for Portable {
    type F = [f32; 8];
    const LANES: usize = 8;
    const TILE_ROWS: usize = 4;
    const DOT_ROWS: usize = 1;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        [x; 8]
    }

    #[inline(always)]
    fn load(self, from: &[f32]) -> Self::F {
        std::array::from_fn(|lane| from[..8][lane])
    }

    #[inline(always)]
    unsafe fn load_at(self, from: &[f32], at: usize) -> Self::F {
        self.load(&from[at..])
    }

    #[inline(always)]
    unsafe fn load_bf16_at(self, from: &[bf16], at: usize) -> Self::F {
        let from = &from[at..][..8];
        std::array::from_fn(|lane| from[lane].widened())
    }

    #[inline(always)]
    fn store(self, x: Self::F, to: &mut [f32]) {
        to[..8].copy_from_slice(&x);
    }

    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        std::array::from_fn(|lane| a[lane] + b[lane])
    }

    #[inline(always)]
    fn add_neighbours(self, a: Self::F, b: Self::F) -> Self::F {
        std::array::from_fn(|lane| {
            let of = if lane < 4 { a } else { b };
            of[2 * lane % 8] + of[2 * lane % 8 + 1]
        })
    }

    #[inline(always)]
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        // Without the instruction, a fused product is a function call.
        std::array::from_fn(|lane| a[lane] * b[lane] + c[lane])
    }

    #[inline(always)]
    fn sum(self, x: Self::F) -> f32 {
        let fours: [f32; 4] = std::array::from_fn(|lane| x[lane] + x[lane + 4]);
        (fours[0] + fours[2]) + (fours[1] + fours[3])
    }

    #[inline(always)]
    fn four_sums(self, x: [Self::F; 4]) -> [f32; 4] {
        x.map(|x| self.sum(x))
    }

    #[inline(always)]
    fn prefetch<T>(self, _: &[T], _: usize) {}

    #[inline(always)]
    fn transposed(self, rows: [&[f32]; 8]) -> [[f32; 8]; 8] {
        std::array::from_fn(|column| rows.map(|row| row[column]))
    }
}

/// Pairs of rows, then fours, within the halves of vectors; then the halves.
///
/// # Safety
/// The CPU has AVX2.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn transposed(rows: [&[f32]; 8]) -> [[f32; 8]; 8] {
    let mut out = [[0.0; 8]; 8];
    // SAFETY: the CPU has AVX2, as the caller promises; `from` holds a vector, and each row of `out` has room for one. No
    // closures: a closure is not compiled for the set.
    unsafe {
        let mut loaded = [_mm256_setzero_ps(); 8];
        for (to, from) in loaded.iter_mut().zip(rows) {
            let from = &from[..8];
            *to = _mm256_loadu_ps(from.as_ptr());
        }
        let mut fours = [_mm256_setzero_ps(); 8];
        for half in 0..2 {
            let first = 4 * half;
            let [a, b, c, d] = [loaded[first], loaded[first + 1], loaded[first + 2], loaded[first + 3]];
            let (low, high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
            let (other_low, other_high) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
            fours[4 * half] = _mm256_shuffle_ps::<0b01_00_01_00>(low, other_low);
            fours[4 * half + 1] = _mm256_shuffle_ps::<0b11_10_11_10>(low, other_low);
            fours[4 * half + 2] = _mm256_shuffle_ps::<0b01_00_01_00>(high, other_high);
            fours[4 * half + 3] = _mm256_shuffle_ps::<0b11_10_11_10>(high, other_high);
        }
        for column in 0..4 {
            let (upper, lower) = (fours[column], fours[4 + column]);
            _mm256_storeu_ps(out[column].as_mut_ptr(), _mm256_permute2f128_ps::<0x20>(upper, lower));
            _mm256_storeu_ps(out[4 + column].as_mut_ptr(), _mm256_permute2f128_ps::<0x31>(upper, lower));
        }
    }
    out
}

/// Implements a set of x86-64 by its intrinsics.
#[cfg(target_arch = "x86_64")]
macro_rules! x86 {
    (
        $name:ident, $doc:literal, $features:literal, detect [$($feature:tt)+], $vector:ident x $lanes:literal,
        tile $tile:literal, dot $dot:literal,
        $splat:ident $load:ident $store:ident $add:ident $fma:ident,
        halves $load_halves:ident $wide:ident $upper:expr,
        neighbours($a:ident, $b:ident) $neighbours:expr, sum($x:ident) $sum:expr,
        four_sums($four:ident) $four_sums:expr
    ) => {
        #[doc = $doc]
        #[derive(Debug, Clone, Copy)]
        pub(super) struct $name(());

        impl $name {
            /// The proof, if the CPU has the set.
            pub(super) fn detect() -> Option<Self> {
                ($(is_x86_feature_detected!($feature))&&+).then_some(Self(()))
            }

            pub(super) fn vectorize(self, job: impl Job) {
                #[target_feature(enable = $features)]
                fn inner(simd: $name, job: impl Job) {
                    job.run(simd);
                }
                // SAFETY: `self` proves that the CPU has these features.
                unsafe { inner(self, job) }
            }
        }

        impl Simd for $name {
            type F = $vector;
            const LANES: usize = $lanes;
            const TILE_ROWS: usize = $tile;
            const DOT_ROWS: usize = $dot;

            #[inline(always)]
            fn splat(self, x: f32) -> $vector {
                // SAFETY: `self` proves that the CPU has the instruction; it touches no memory.
                unsafe { $splat(x) }
            }

            #[inline(always)]
            fn load(self, from: &[f32]) -> $vector {
                let from = &from[..$lanes];
                // SAFETY: `from` holds a vector.
                unsafe { $load(from.as_ptr()) }
            }

            #[inline(always)]
            unsafe fn load_at(self, from: &[f32], at: usize) -> $vector {
                // SAFETY: as promised by the caller.
                unsafe { $load(from.as_ptr().add(at)) }
            }

            #[inline(always)]
            unsafe fn load_bf16_at(self, from: &[bf16], at: usize) -> $vector {
                // SAFETY: as promised by the caller; a bf16 is a transparent u16, and the upper half of the f32.
                unsafe { $upper($wide($load_halves(from.as_ptr().add(at).cast()))) }
            }

            #[inline(always)]
            fn store(self, x: $vector, to: &mut [f32]) {
                let to = &mut to[..$lanes];
                // SAFETY: `to` holds a vector.
                unsafe { $store(to.as_mut_ptr(), x) }
            }

            #[inline(always)]
            fn add(self, a: $vector, b: $vector) -> $vector {
                // SAFETY: as for `splat`.
                unsafe { $add(a, b) }
            }

            #[inline(always)]
            fn add_neighbours(self, $a: $vector, $b: $vector) -> $vector {
                // SAFETY: as for `splat`.
                unsafe { $neighbours }
            }

            #[inline(always)]
            fn mul_add(self, a: $vector, b: $vector, c: $vector) -> $vector {
                // SAFETY: as for `splat`.
                unsafe { $fma(a, b, c) }
            }

            #[inline(always)]
            fn sum(self, $x: $vector) -> f32 {
                // SAFETY: as for `splat`.
                unsafe { $sum }
            }

            #[inline(always)]
            fn four_sums(self, $four: [$vector; 4]) -> [f32; 4] {
                // SAFETY: as for `splat`; four f32 have the size of a vector of 128 bits, and any bits are f32.
                unsafe { std::mem::transmute::<__m128, [f32; 4]>($four_sums) }
            }

            #[inline(always)]
            fn prefetch<T>(self, from: &[T], index: usize) {
                // SAFETY: a prefetch has no effect on memory, wherever it points.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(from.as_ptr().wrapping_add(index).cast()) };
            }

            #[inline(always)]
            fn transposed(self, rows: [&[f32]; 8]) -> [[f32; 8]; 8] {
                // SAFETY: `self` proves that the CPU has AVX2.
                unsafe { transposed(rows) }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
x86! {
    Avx512, "AVX-512.", "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma",
    detect ["avx512f" "avx512bw" "avx512vl" "avx512dq" "avx2" "fma"],
    __m512 x 16, tile 8, dot 6,
    _mm512_set1_ps _mm512_loadu_ps _mm512_storeu_ps _mm512_add_ps _mm512_fmadd_ps,
    halves _mm256_loadu_si256 _mm512_cvtepu16_epi32 |x| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(x)),
    neighbours(a, b) {
        let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
        let odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
        _mm512_add_ps(_mm512_permutex2var_ps(a, even, b), _mm512_permutex2var_ps(a, odd, b))
    },
    sum(x) _mm512_reduce_add_ps(x),
    four_sums(x) {
        let [a, b, c, d] = x;
        // In each quarter a, b, a, b and c, d, c, d of two lanes, then a, b, c, d of four.
        let twos = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
        let others = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
        let fours = _mm512_add_ps(
            _mm512_shuffle_ps::<0b01_00_01_00>(twos, others),
            _mm512_shuffle_ps::<0b11_10_11_10>(twos, others),
        );
        let halves = _mm256_add_ps(_mm512_castps512_ps256(fours), _mm512_extractf32x8_ps::<1>(fours));
        _mm_add_ps(_mm256_castps256_ps128(halves), _mm256_extractf128_ps::<1>(halves))
    }
}

#[cfg(target_arch = "x86_64")]
x86! {
    Avx2, "AVX2 with FMA.", "avx2,fma",
    detect ["avx2" "fma"],
    __m256 x 8, tile 4, dot 2,
    _mm256_set1_ps _mm256_loadu_ps _mm256_storeu_ps _mm256_add_ps _mm256_fmadd_ps,
    halves _mm_loadu_si128 _mm256_cvtepu16_epi32 |x| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(x)),
    neighbours(a, b) {
        // Within halves of vectors: the quarters are in the order a, b, a, b.
        let quarters = _mm256_castps_pd(_mm256_hadd_ps(a, b));
        _mm256_castpd_ps(_mm256_permute4x64_pd::<0b11_01_10_00>(quarters))
    },
    sum(x) {
        let fours = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
        let twos = _mm_add_ps(fours, _mm_movehl_ps(fours, fours));
        _mm_cvtss_f32(_mm_add_ss(twos, _mm_shuffle_ps::<1>(twos, twos)))
    },
    four_sums(x) {
        let [a, b, c, d] = x;
        let fours = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
        _mm_add_ps(_mm256_castps256_ps128(fours), _mm256_extractf128_ps::<1>(fours))
    }
}
