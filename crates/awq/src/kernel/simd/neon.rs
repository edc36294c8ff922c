//! Vectors of eight with NEON, in two registers each: the two share the four registers of a table of sixteen f32.
#![allow(unsafe_code, reason = "intrinsics; a value of `Neon` proves that the CPU has them")]

#[allow(clippy::wildcard_imports, reason = "forty intrinsics, all from one place")]
use std::arch::aarch64::*;
use std::arch::{asm, is_aarch64_feature_detected};

use half::f16;

use super::{Absent, CODE_OFFSET, Lanes, Operation, Simd, Table};
use crate::kernel::packed::{COLUMN_SHIFT, Rounding, STRIP_WORDS, WORD_COLUMNS};

const LANES: usize = 8;

/// Lanes of a register.
const HALF: usize = LANES / 2;

/// Proof that the CPU has the set; made by [`Neon::detect`] alone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Neon(());

impl Neon {
    /// The proof, if the CPU has the set.
    pub(crate) fn detect() -> Option<Self> {
        is_aarch64_feature_detected!("neon").then_some(Self(()))
    }
}

/// Calls intrinsics without memory operands.
macro_rules! register {
    ($call:expr) => {
        // SAFETY: the caller holds a `Neon`, so the CPU has the instructions; they touch no memory.
        unsafe { $call }
    };
}

#[expect(clippy::unused_self, reason = "it is the proof that the intrinsics may be called")]
impl Neon {
    #[inline(always)]
    fn round_bf16(self, x: float32x4_t) -> float32x4_t {
        register!({
            let bits = vreinterpretq_u32_f32(x);
            let odd = vandq_u32(vshrq_n_u32::<16>(bits), vdupq_n_u32(1));
            let rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
            let quiet = vorrq_u32(bits, vdupq_n_u32(0x0040_0000));
            // NaN alone does not equal itself.
            let chosen = vbslq_u32(vceqq_f32(x, x), rounded, quiet);
            vreinterpretq_f32_u32(vbicq_u32(chosen, vdupq_n_u32(0xffff)))
        })
    }

    #[inline(always)]
    fn narrow(self, x: float32x4x2_t) -> float16x8_t {
        register!(vcvt_high_f16_f32(vcvt_f16_f32(x.0), x.1))
    }

    #[inline(always)]
    fn widen(self, x: float16x8_t) -> float32x4x2_t {
        register!(float32x4x2_t(vcvt_f32_f16(vget_low_f16(x)), vcvt_high_f32_f16(x)))
    }

    /// Where the f32 of each code starts in a table, and the three bytes behind it.
    #[inline(always)]
    fn bytes(self, codes: uint32x4_t) -> uint8x16_t {
        const BYTES: u32 = u32::from_ne_bytes([0, 1, 2, 3]);
        const SIZES: u32 = u32::from_ne_bytes([4; 4]);
        register!({
            let code = vandq_u32(codes, vdupq_n_u32(15));
            // Not one multiply-add, which would first copy what it adds to.
            let first = vmulq_u32(code, vdupq_n_u32(SIZES));
            vreinterpretq_u8_u32(vorrq_u32(first, vdupq_n_u32(BYTES)))
        })
    }

    /// Words `0..4` of four rows, `stride` apart, into one vector for each word.
    #[inline(always)]
    fn turn(self, words: &[i32], stride: usize) -> [uint32x4_t; 4] {
        let words = &words[..3 * stride + 4];
        let mut rows = [register!(vdupq_n_u32(0)); 4];
        for (index, row) in rows.iter_mut().enumerate() {
            // SAFETY: `words` reaches to the end of the last row's four words.
            *row = unsafe { vld1q_u32(words.as_ptr().add(index * stride).cast()) };
        }
        let [a, b, c, d] = rows;
        register!({
            // Pairs of rows: words 0 and 2, words 1 and 3.
            let even = [vtrn1q_u32(a, b), vtrn1q_u32(c, d)].map(|x| vreinterpretq_u64_u32(x));
            let odd = [vtrn2q_u32(a, b), vtrn2q_u32(c, d)].map(|x| vreinterpretq_u64_u32(x));
            [
                vtrn1q_u64(even[0], even[1]),
                vtrn1q_u64(odd[0], odd[1]),
                vtrn2q_u64(even[0], even[1]),
                vtrn2q_u64(odd[0], odd[1]),
            ]
            .map(|x| vreinterpretq_u32_u64(x))
        })
    }
}

impl Simd for Neon {
    type F = float32x4x2_t;
    type U = uint32x4x2_t;
    type Pairs = Absent<Self>;
    const LANES: usize = LANES;
    const TILE_ROWS: usize = 6;
    const TILE_VECTORS: usize = 2;
    const REGISTERS: usize = 16;
    const FEW_ROWS: usize = 4;

    #[inline(always)]
    fn vectorize<O: Operation>(self, operation: O) -> O::Output {
        #[target_feature(enable = "neon")]
        fn inner<O: Operation>(simd: Neon, operation: O) -> O::Output {
            operation.run(simd)
        }
        // SAFETY: `self` proves that the CPU has the feature.
        unsafe { inner(self, operation) }
    }

    #[inline(always)]
    fn pairs(self) -> Option<Self::Pairs> {
        None
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        register!(float32x4x2_t(vdupq_n_f32(x), vdupq_n_f32(x)))
    }

    #[inline(always)]
    fn load(self, from: &[f32]) -> Self::F {
        let from = from[..LANES].as_ptr();
        // SAFETY: there are LANES floats, two halves.
        unsafe { float32x4x2_t(vld1q_f32(from), vld1q_f32(from.add(HALF))) }
    }

    #[inline(always)]
    fn store(self, x: Self::F, to: &mut [f32]) {
        let to = to[..LANES].as_mut_ptr();
        // SAFETY: there are LANES floats, two halves.
        unsafe {
            vst1q_f32(to, x.0);
            vst1q_f32(to.add(HALF), x.1);
        }
    }

    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        register!(float32x4x2_t(vaddq_f32(a.0, b.0), vaddq_f32(a.1, b.1)))
    }

    #[inline(always)]
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        register!(float32x4x2_t(vsubq_f32(a.0, b.0), vsubq_f32(a.1, b.1)))
    }

    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        register!(float32x4x2_t(vmulq_f32(a.0, b.0), vmulq_f32(a.1, b.1)))
    }

    #[inline(always)]
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        register!(float32x4x2_t(vfmaq_f32(c.0, a.0, b.0), vfmaq_f32(c.1, a.1, b.1)))
    }

    #[inline(always)]
    fn neg_mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        register!(float32x4x2_t(vfmsq_f32(c.0, a.0, b.0), vfmsq_f32(c.1, a.1, b.1)))
    }

    #[inline(always)]
    fn sum(self, x: Self::F) -> f32 {
        register!({
            let four = vaddq_f32(x.0, x.1);
            let two = vpaddq_f32(four, four);
            vpadds_f32(vget_low_f32(two))
        })
    }

    #[inline(always)]
    fn round(self, x: Self::F, rounding: Rounding) -> Self::F {
        match rounding {
            Rounding::F16 => self.widen(self.narrow(x)),
            Rounding::Bf16 => float32x4x2_t(self.round_bf16(x.0), self.round_bf16(x.1)),
            Rounding::F32 => x,
        }
    }

    #[inline(always)]
    fn load_f16(self, from: &[f16]) -> Self::F {
        let from = &from[..LANES];
        // SAFETY: `from` holds LANES halves, each a transparent u16.
        self.widen(unsafe { vreinterpretq_f16_u16(vld1q_u16(from.as_ptr().cast())) })
    }

    #[inline(always)]
    fn store_f16(self, x: Self::F, to: &mut [f16]) {
        let to = &mut to[..LANES];
        // SAFETY: `to` holds LANES halves, each a transparent u16.
        unsafe { vst1q_u16(to.as_mut_ptr().cast(), vreinterpretq_u16_f16(self.narrow(x))) };
    }

    #[inline(always)]
    fn zero_words(self) -> Self::U {
        register!(uint32x4x2_t(vdupq_n_u32(0), vdupq_n_u32(0)))
    }

    #[inline(always)]
    fn load_words(self, from: &Lanes) -> Self::U {
        let from = from.0.as_ptr();
        // SAFETY: there are sixteen words.
        unsafe { uint32x4x2_t(vld1q_u32(from), vld1q_u32(from.add(HALF))) }
    }

    #[inline(always)]
    fn store_words(self, x: Self::U, to: &mut Lanes) {
        let to = to.0.as_mut_ptr();
        // SAFETY: there are sixteen words.
        unsafe {
            vst1q_u32(to, x.0);
            vst1q_u32(to.add(HALF), x.1);
        }
    }

    // A shift to the right is one to the left by less than nothing.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "at most eight nibbles")]
    fn skip(self, x: Self::U, nibbles: usize) -> Self::U {
        register!({
            let by = vdupq_n_s32(-4 * nibbles as i32);
            uint32x4x2_t(vshlq_u32(x.0, by), vshlq_u32(x.1, by))
        })
    }

    #[inline(always)]
    fn next(self, x: Self::U) -> Self::U {
        register!(uint32x4x2_t(vshrq_n_u32::<4>(x.0), vshrq_n_u32::<4>(x.1)))
    }

    #[inline(always)]
    fn prefetch<T>(self, from: &[T], index: usize) {
        let line = from.as_ptr().wrapping_add(index).addr();
        // SAFETY: a prefetch has no effect on memory, wherever it points.
        unsafe { asm!("prfm pldl1keep, [{}]", in(reg) line, options(nomem, nostack, preserves_flags)) };
    }

    #[inline(always)]
    fn lookup(self, table: &Table, x: Self::U) -> Self::F {
        let bytes = table.0.as_ptr().cast::<u8>();
        // SAFETY: a table is 64 bytes.
        let table = unsafe {
            uint8x16x4_t(
                vld1q_u8(bytes),
                vld1q_u8(bytes.add(16)),
                vld1q_u8(bytes.add(32)),
                vld1q_u8(bytes.add(48)),
            )
        };
        let [a, b] = [self.bytes(x.0), self.bytes(x.1)];
        register!(float32x4x2_t(
            vreinterpretq_f32_u8(vqtbl4q_u8(table, a)),
            vreinterpretq_f32_u8(vqtbl4q_u8(table, b)),
        ))
    }

    #[inline(always)]
    fn transpose(self, words: &[i32], stride: usize, out: &mut [Self::U; STRIP_WORDS]) {
        for first in (0..STRIP_WORDS).step_by(4) {
            let above = self.turn(&words[first..], stride);
            let below = self.turn(&words[HALF * stride + first..], stride);
            for word in 0..4 {
                out[first + word] = uint32x4x2_t(above[word], below[word]);
            }
        }
    }

    #[inline(always)]
    fn words(self, from: &[i32]) -> Self::U {
        let from = &from[..LANES];
        // SAFETY: `from` holds LANES words.
        unsafe { vld1q_u32_x2(from.as_ptr().cast()) }
    }

    #[inline(always)]
    fn put_words(self, x: Self::U, to: &mut [i32]) {
        let to = &mut to[..LANES];
        // SAFETY: `to` holds LANES words.
        unsafe { vst1q_u32_x2(to.as_mut_ptr().cast(), x) }
    }

    #[inline(always)]
    fn codes_in_place(self, x: Self::U, nibble: usize) -> Self::F {
        register!({
            // 2^23, whose last fraction bits count ones.
            let (mask, offset) = (vdupq_n_u32(15 << (4 * nibble)), vdupq_n_u32(CODE_OFFSET.to_bits()));
            let codes = [x.0, x.1].map(|x| vreinterpretq_f32_u32(vorrq_u32(vandq_u32(x, mask), offset)));
            float32x4x2_t(codes[0], codes[1])
        })
    }

    #[inline(always)]
    fn codes(self, words: &[i32; STRIP_WORDS], column: usize) -> Self::F {
        let word = words[column / WORD_COLUMNS].cast_unsigned();
        let shifts = COLUMN_SHIFT.as_ptr().cast::<i32>();
        // SAFETY: there is a shift of four bytes for each of eight columns.
        let shifts = unsafe { [vld1q_s32(shifts), vld1q_s32(shifts.add(HALF))] };
        register!({
            // 2^23, whose last fraction bits count ones.
            let offset = vreinterpretq_u32_f32(vdupq_n_f32(CODE_OFFSET));
            let [a, b] = shifts.map(|by| {
                let shifted = vshlq_u32(vdupq_n_u32(word), vnegq_s32(by));
                vreinterpretq_f32_u32(vorrq_u32(vandq_u32(shifted, vdupq_n_u32(15)), offset))
            });
            float32x4x2_t(a, b)
        })
    }
}
