//! Vectors of f32 and u32 as the kernels see them, one implementation for each instruction set.
//!
//! A kernel is an [`Operation`], written once over [`Simd`]; [`Simd::vectorize`] compiles it with the set's
//! instructions. Everything an operation calls must be `inline(always)`, or it falls out of that compilation.
//! A value of a [`Simd`] type is the proof that the CPU has the instructions.

mod absent;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod amx;
mod arithmetic;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx2_integers;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512_bf16;
#[cfg(target_arch = "x86_64")]
mod avx512_codes;
#[cfg(target_arch = "x86_64")]
mod avx512_terms;
mod codes;
mod integers;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
mod strip_rows;
mod terms;

use half::{bf16, f16};

pub(crate) use self::absent::Absent;
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
pub(crate) use self::absent::{Amx, AmxSetUp};
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(crate) use self::amx::{Amx, AmxSetUp};
pub(crate) use self::arithmetic::{Arithmetic, Job, PackLeft, Single};
pub(crate) use self::codes::{CodeJob, CodePairs, Words};
pub(crate) use self::integers::{CODE_PLACES, EXACT_ROWS, IntegerJob, IntegerPairs, WordsOf};
pub(crate) use self::portable::Portable;
pub(crate) use self::strip_rows::{Rows, StripRows};
pub(crate) use self::terms::{PairTerms, TERM_STEPS};

use super::isa::Isa;
use super::packed::{NIBBLE_COLUMN, Rounding, STRIP_COLUMNS, STRIP_WORDS, WORD_COLUMNS};

/// What [`Simd::codes`] adds, exactly: it saves a conversion, and is gone from differences of codes.
pub(crate) const CODE_OFFSET: f32 = 8_388_608.0;

/// What a nibble of the lower half of a word counts, where it is.
pub(crate) const PLACES: [f32; 4] = [1.0, 16.0, 256.0, 4096.0];

/// The sixteen values that a column's codes stand for, or, joined ([`Arithmetic::join`]), those of two columns in bf16.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(crate) struct Table(pub(crate) [f32; 16]);

/// Numbers that start on a cache line.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Aligned<const N: usize>(pub(crate) [f32; N]);

/// Memory for the lanes of a vector of words.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(crate) struct Lanes(pub(crate) [u32; 16]);

/// Vectors whose lanes are summed together.
pub(crate) const SUMS: usize = 16;

/// Rows of a tile of AMX, of activations and of sums; and steps, and columns.
pub(crate) const TILE: usize = 16;

/// What the sums of a product begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begin {
    /// Nothing: they are overwritten.
    Zero,
    /// Those that are there.
    Sums,
}

/// Work to be compiled once for each instruction set.
pub(crate) trait Operation {
    /// What it returns.
    type Output;
    /// Does it; `inline(always)`.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// One instruction set. Slices shorter than a vector panic; no kernel passes one.
pub(crate) trait Simd: Copy + Send + Sync + 'static {
    /// `LANES` f32.
    type F: Copy;
    /// `LANES` u32.
    type U: Copy;
    /// How pairs of bf16 terms are multiplied, where they can be.
    type Pairs: CodePairs<S = Self> + PackLeft<bf16> + PairTerms;
    /// Elements of a vector: 8 or 16.
    const LANES: usize;
    /// The most rows of a register tile.
    const TILE_ROWS: usize;
    /// Vectors in a row of a register tile, 1 or 2.
    const TILE_VECTORS: usize;
    /// Vector registers.
    const REGISTERS: usize;
    /// The most rows of a gradient that a kernel for few rows holds in registers, at most 8.
    const FEW_ROWS: usize;

    /// Runs `operation` with the set's instructions.
    fn vectorize<O: Operation>(self, operation: O) -> O::Output;

    /// The way for pairs of bf16 terms, if the CPU has one.
    fn pairs(self) -> Option<Self::Pairs>;
    /// The most rows of bf16 for which pairs of integers are the fastest.
    #[inline(always)]
    fn integer_rows(self) -> usize {
        0
    }
    /// Runs `job` with the instructions for pairs of integers, which a set without [`Simd::integer_rows`] has not got.
    #[inline(always)]
    fn vectorize_integers(self, _: impl IntegerJob) {
        unreachable!("no rows are multiplied so")
    }

    /// All lanes `x`.
    fn splat(self, x: f32) -> Self::F;
    /// The first elements of `from`.
    fn load(self, from: &[f32]) -> Self::F;
    /// Into the first elements of `to`.
    fn store(self, x: Self::F, to: &mut [f32]);
    /// `a + b`.
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a - b`.
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b`.
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, rounded once where the set can.
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `c - a * b`, rounded once where the set can.
    fn neg_mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// The sum of all lanes, always in the same order.
    fn sum(self, x: Self::F) -> f32;
    /// The sum of all lanes of each vector, always in the same order.
    #[inline(always)]
    fn sums(self, x: [Self::F; SUMS]) -> Aligned<SUMS> {
        let mut out = Aligned([0.0; SUMS]);
        for (out, x) in out.0.iter_mut().zip(x) {
            *out = self.sum(x);
        }
        out
    }
    /// Rounds every lane to the type.
    fn round(self, x: Self::F, rounding: Rounding) -> Self::F;
    /// Widens the first elements of `from`.
    fn load_f16(self, from: &[f16]) -> Self::F;
    /// Rounds into the first elements of `to`.
    fn store_f16(self, x: Self::F, to: &mut [f16]);

    /// All lanes zero.
    fn zero_words(self) -> Self::U;
    /// The lanes of a word that [`Simd::store_words`] wrote.
    fn load_words(self, from: &Lanes) -> Self::U;
    /// Keeps the lanes of a word.
    fn store_words(self, x: Self::U, to: &mut Lanes);
    /// Every lane shifted right by `nibbles` nibbles.
    fn skip(self, x: Self::U, nibbles: usize) -> Self::U;
    /// Every lane shifted right by one nibble.
    fn next(self, x: Self::U) -> Self::U;
    /// `table[x & 15]` for every lane.
    fn lookup(self, table: &Table, x: Self::U) -> Self::F;
    /// Asks for the cache line of an element, which may lie beyond the end.
    fn prefetch<T>(self, from: &[T], index: usize);
    /// Turns `LANES` rows of [`STRIP_WORDS`] words, `stride` apart, into one vector for each word.
    fn transpose(self, words: &[i32], stride: usize, out: &mut [Self::U; STRIP_WORDS]);
    /// The first words of `from`.
    fn words(self, from: &[i32]) -> Self::U;
    /// The reverse of [`Simd::words`].
    fn put_words(self, x: Self::U, to: &mut [i32]);
    /// A nibble of every lane, one of the lower half, where it is: its code times [`PLACES`], plus [`CODE_OFFSET`].
    fn codes_in_place(self, x: Self::U, nibble: usize) -> Self::F;
    /// A nibble of every lane, times what it counts in its half of the word, plus [`CODE_OFFSET`].
    #[inline(always)]
    fn codes_in_half(self, x: Self::U, nibble: usize) -> Self::F {
        match nibble.checked_sub(PLACES.len()) {
            None => self.codes_in_place(x, nibble),
            Some(nibble) => self.codes_in_place(self.skip(x, PLACES.len()), nibble),
        }
    }
    /// A strip from the order of columns to that of nibbles, and of words among those.
    #[inline(always)]
    fn by_nibble(self, columns: &Aligned<STRIP_COLUMNS>) -> Aligned<STRIP_COLUMNS> {
        let mut out = Aligned([0.0; STRIP_COLUMNS]);
        for (nibble, column) in NIBBLE_COLUMN.into_iter().enumerate() {
            for word in 0..STRIP_WORDS {
                out.0[nibble * STRIP_WORDS + word] = columns.0[word * WORD_COLUMNS + column];
            }
        }
        out
    }
    /// A strip from the order of nibbles back to that of columns.
    #[inline(always)]
    fn by_column(self, nibbles: &Aligned<STRIP_COLUMNS>) -> Aligned<STRIP_COLUMNS> {
        let mut out = Aligned([0.0; STRIP_COLUMNS]);
        for (nibble, column) in NIBBLE_COLUMN.into_iter().enumerate() {
            for word in 0..STRIP_WORDS {
                out.0[word * WORD_COLUMNS + column] = nibbles.0[nibble * STRIP_WORDS + word];
            }
        }
        out
    }
    /// The codes of `LANES` columns from `column` (a multiple of `LANES`) on, plus [`CODE_OFFSET`].
    fn codes(self, words: &[i32; STRIP_WORDS], column: usize) -> Self::F;
}

/// Whether the CPU has the set.
pub(crate) fn supported(isa: Isa) -> bool {
    match isa {
        Isa::Portable => true,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => avx2::Avx2::detect().is_some(),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => avx512::Avx512::detect().is_some(),
        #[cfg(target_arch = "x86_64")]
        Isa::Amx => avx512::Avx512::with_amx().is_some(),
        #[cfg(not(target_arch = "x86_64"))]
        Isa::Avx2 | Isa::Avx512 | Isa::Amx => false,
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => neon::Neon::detect().is_some(),
        #[cfg(not(target_arch = "aarch64"))]
        Isa::Neon => false,
    }
}

/// Runs `operation` with the set, or with plain Rust where the CPU lacks it.
pub(crate) fn dispatch<O: Operation>(isa: Isa, operation: O) -> O::Output {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => {
            if let Some(simd) = avx2::Avx2::detect() {
                return simd.vectorize(operation);
            }
        }
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => {
            if let Some(simd) = avx512::Avx512::detect() {
                return simd.vectorize(operation);
            }
        }
        #[cfg(target_arch = "x86_64")]
        Isa::Amx => {
            if let Some(simd) = avx512::Avx512::with_amx() {
                return simd.vectorize(operation);
            }
        }
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => {
            if let Some(simd) = neon::Neon::detect() {
                return simd.vectorize(operation);
            }
        }
        _ => {}
    }
    Portable.vectorize(operation)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernel::rounding::{round_bf16, round_f16};

    /// Sixteen numbers rounded in each way: to f16, to bf16, written as f16, and these read again.
    struct Roundings([f32; 16]);

    impl Operation for Roundings {
        type Output = ([f32; 16], [f32; 16], [f16; 16], [f32; 16]);

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> Self::Output {
            let mut out = ([0.0; 16], [0.0; 16], [f16::ZERO; 16], [0.0; 16]);
            for at in (0..16).step_by(S::LANES) {
                let x = simd.load(&self.0[at..]);
                simd.store(simd.round(x, Rounding::F16), &mut out.0[at..]);
                simd.store(simd.round(x, Rounding::Bf16), &mut out.1[at..]);
                simd.store_f16(x, &mut out.2[at..]);
                simd.store(simd.load_f16(&out.2[at..]), &mut out.3[at..]);
            }
            out
        }
    }

    fn check(numbers: [f32; 16]) {
        for isa in Isa::available() {
            let (to_f16, to_bf16, written, read) = dispatch(isa, Roundings(numbers));
            for (at, x) in numbers.into_iter().enumerate() {
                let expected = round_f16(x).to_bits();
                assert_eq!(to_f16[at].to_bits(), expected, "{isa}: f16 of {x:e}");
                assert_eq!(to_bf16[at].to_bits(), round_bf16(x).to_bits(), "{isa}: bf16 of {x:e}");
                assert_eq!(written[at].to_bits(), f16::from_f32(x).to_bits(), "{isa}: {x:e} written as f16");
                assert_eq!(read[at].to_bits(), expected, "{isa}: {x:e} read as f16");
            }
        }
    }

    #[test]
    fn every_set_rounds_subnormals_ties_overflow_and_nan_alike() {
        let [smallest_nan, largest_nan] = [0x7f80_0001, 0x7fff_ffff].map(f32::from_bits);
        let numbers = [
            [0.0, 1e-45, 2.98e-8, 2.980_233e-8],
            [6.097_555e-5, 6.1e-5, 1.000_488_3, 1.003_906_3],
            [65504.0, 65519.996, 65520.0, 1e5],
            [f32::MAX, f32::INFINITY, smallest_nan, largest_nan],
        ];
        let numbers: [f32; 16] = std::array::from_fn(|at| numbers[at / 4][at % 4]);
        check(numbers);
        check(numbers.map(|x| -x));
    }

    proptest! {
        #[test]
        fn every_set_rounds_alike(bits in any::<[u32; 16]>(), finite in any::<[u16; 16]>(), below in 0u32..0x4000) {
            check(bits.map(f32::from_bits));
            // Close to f16 values, where ties are.
            check(finite.map(|half| f32::from_bits(f16::from_bits(half).to_f32().to_bits() ^ below)));
        }
    }
}
