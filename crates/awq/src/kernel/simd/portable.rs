//! Vectors of eight in plain safe Rust, in loops that compilers turn into the vectors a target always has.

use half::f16;

use super::{Absent, CODE_OFFSET, Lanes, Operation, Simd, Table};
use crate::kernel::packed::{COLUMN_SHIFT, Rounding, STRIP_WORDS, WORD_COLUMNS};
use crate::kernel::rounding::{round_bf16, round_f16};

const LANES: usize = WORD_COLUMNS;

/// Needs nothing of the CPU.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Portable;

/// Lane by lane.
#[inline(always)]
fn zip(a: [f32; LANES], b: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> [f32; LANES] {
    let mut out = [0.0; LANES];
    for lane in 0..LANES {
        out[lane] = f(a[lane], b[lane]);
    }
    out
}

impl Simd for Portable {
    type F = [f32; LANES];
    type U = [u32; LANES];
    type Pairs = Absent<Self>;
    const LANES: usize = LANES;
    const TILE_ROWS: usize = 6;
    const TILE_VECTORS: usize = 1;
    const REGISTERS: usize = 16;
    const FEW_ROWS: usize = 4;

    #[inline(always)]
    fn vectorize<O: Operation>(self, operation: O) -> O::Output {
        // A function of its own, as with the other sets: all of a kernel in one takes minutes to compile.
        #[inline(never)]
        fn inner<O: Operation>(simd: Portable, operation: O) -> O::Output {
            operation.run(simd)
        }
        inner(self, operation)
    }

    #[inline(always)]
    fn pairs(self) -> Option<Self::Pairs> {
        None
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        [x; LANES]
    }

    #[inline(always)]
    fn load(self, from: &[f32]) -> Self::F {
        let mut out = [0.0; LANES];
        out.copy_from_slice(&from[..LANES]);
        out
    }

    #[inline(always)]
    fn store(self, x: Self::F, to: &mut [f32]) {
        to[..LANES].copy_from_slice(&x);
    }

    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a * b)
    }

    // `f32::mul_add` is a library call where the target has no such instruction.
    #[inline(always)]
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        let mut out = c;
        for lane in 0..LANES {
            out[lane] = if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
                a[lane].mul_add(b[lane], c[lane])
            } else {
                a[lane] * b[lane] + c[lane]
            };
        }
        out
    }

    #[inline(always)]
    fn neg_mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        self.mul_add(a.map(|lane| -lane), b, c)
    }

    #[inline(always)]
    fn sum(self, x: Self::F) -> f32 {
        ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7]))
    }

    #[inline(always)]
    fn round(self, x: Self::F, rounding: Rounding) -> Self::F {
        match rounding {
            Rounding::F16 => zip(x, x, |x, _| round_f16(x)),
            Rounding::Bf16 => zip(x, x, |x, _| round_bf16(x)),
            Rounding::F32 => x,
        }
    }

    #[inline(always)]
    fn load_f16(self, from: &[f16]) -> Self::F {
        let mut out = [0.0; LANES];
        for (out, from) in out.iter_mut().zip(&from[..LANES]) {
            *out = from.to_f32();
        }
        out
    }

    #[inline(always)]
    fn store_f16(self, x: Self::F, to: &mut [f16]) {
        for (to, x) in to[..LANES].iter_mut().zip(x) {
            *to = f16::from_f32(x);
        }
    }

    #[inline(always)]
    fn zero_words(self) -> Self::U {
        [0; LANES]
    }

    #[inline(always)]
    fn load_words(self, from: &Lanes) -> Self::U {
        let mut out = [0; LANES];
        out.copy_from_slice(&from.0[..LANES]);
        out
    }

    #[inline(always)]
    fn store_words(self, x: Self::U, to: &mut Lanes) {
        to.0[..LANES].copy_from_slice(&x);
    }

    #[inline(always)]
    fn skip(self, x: Self::U, nibbles: usize) -> Self::U {
        x.map(|x| x >> ((4 * nibbles) & 31))
    }

    #[inline(always)]
    fn next(self, x: Self::U) -> Self::U {
        x.map(|x| x >> 4)
    }

    #[inline(always)]
    fn prefetch<T>(self, _: &[T], _: usize) {}

    #[inline(always)]
    fn lookup(self, table: &Table, x: Self::U) -> Self::F {
        let mut out = [0.0; LANES];
        for lane in 0..LANES {
            out[lane] = table.0[(x[lane] & 15) as usize];
        }
        out
    }

    #[inline(always)]
    fn transpose(self, words: &[i32], stride: usize, out: &mut [Self::U; STRIP_WORDS]) {
        for lane in 0..LANES {
            let row = &words[lane * stride..][..STRIP_WORDS];
            for (out, word) in out.iter_mut().zip(row) {
                out[lane] = word.cast_unsigned();
            }
        }
    }

    #[inline(always)]
    fn words(self, from: &[i32]) -> Self::U {
        std::array::from_fn(|lane| from[..LANES][lane].cast_unsigned())
    }

    #[inline(always)]
    fn put_words(self, x: Self::U, to: &mut [i32]) {
        to[..LANES].copy_from_slice(&x.map(u32::cast_signed));
    }

    #[inline(always)]
    fn codes_in_place(self, x: Self::U, nibble: usize) -> Self::F {
        // 2^23, whose last fraction bits count ones.
        x.map(|word| f32::from_bits(word & (15 << (4 * nibble)) | CODE_OFFSET.to_bits()))
    }

    #[inline(always)]
    fn codes(self, words: &[i32; STRIP_WORDS], column: usize) -> Self::F {
        let word = words[column / WORD_COLUMNS].cast_unsigned();
        let mut out = [0.0; LANES];
        for (out, shift) in out.iter_mut().zip(COLUMN_SHIFT) {
            // The last fraction bits of the offset, 2^23, count ones.
            *out = f32::from_bits(CODE_OFFSET.to_bits() | ((word >> shift) & 15));
        }
        out
    }
}
