//! The dtypes of activations: read as f32 (exact), written with one rounding to nearest even.

use half::{bf16, f16};

use super::rounding::narrow_bf16;
use super::simd::Simd;

/// f32, bf16 or f16.
pub(crate) trait Element: Copy + Default + Send + Sync + 'static {
    /// Whether it is bf16, whose own rounding hides that of a weight.
    const IS_BF16: bool = false;
    /// How many numbers of bf16 it is the sum of.
    const BF16_TERMS: usize;
    /// `to[i] = from[i]`, exactly.
    fn widen<S: Simd>(simd: S, from: &[Self], to: &mut [f32]);
    /// `to[i] = round(from[i])`.
    fn narrow<S: Simd>(simd: S, from: &[f32], to: &mut [Self]);
    /// The largest magnitude, NaN if there is one.
    fn largest(elements: &[Self]) -> f32;
    /// The same elements, if they are bf16.
    fn as_bf16(_: &[Self]) -> Option<&[bf16]> {
        None
    }
}

/// No sum of products of bf16 activations below this and differences of codes overflows.
const ORDINARY: f32 = 1e30;

/// Whether the sums of products of these and differences of codes, before any scale, are finite.
#[inline(always)]
pub(crate) fn are_ordinary(x: &[bf16]) -> bool {
    bf16::largest(x) < ORDINARY
}

impl Element for f32 {
    const BF16_TERMS: usize = 3;

    #[inline(always)]
    fn largest(elements: &[Self]) -> f32 {
        // Magnitudes have the order of their bits.
        let largest = elements.iter().fold(0, |largest, x| largest.max(x.to_bits() & 0x7fff_ffff));
        f32::from_bits(largest)
    }

    #[inline(always)]
    fn widen<S: Simd>(_: S, from: &[Self], to: &mut [f32]) {
        to.copy_from_slice(from);
    }

    #[inline(always)]
    fn narrow<S: Simd>(_: S, from: &[f32], to: &mut [Self]) {
        to.copy_from_slice(from);
    }
}

impl Element for bf16 {
    const IS_BF16: bool = true;
    const BF16_TERMS: usize = 1;

    #[inline(always)]
    fn largest(elements: &[Self]) -> f32 {
        // Magnitudes have the order of their bits.
        let largest = elements.iter().fold(0, |largest, x| largest.max(x.to_bits() & 0x7fff));
        Self::from_bits(largest).to_f32()
    }

    #[inline(always)]
    fn widen<S: Simd>(_: S, from: &[Self], to: &mut [f32]) {
        for (to, from) in to.iter_mut().zip(from) {
            *to = f32::from_bits(u32::from(from.to_bits()) << 16);
        }
    }

    #[inline(always)]
    fn narrow<S: Simd>(_: S, from: &[f32], to: &mut [Self]) {
        for (to, from) in to.iter_mut().zip(from) {
            *to = narrow_bf16(*from);
        }
    }

    #[inline(always)]
    fn as_bf16(elements: &[Self]) -> Option<&[bf16]> {
        Some(elements)
    }
}

impl Element for f16 {
    const BF16_TERMS: usize = 2;

    #[inline(always)]
    fn largest(elements: &[Self]) -> f32 {
        // Magnitudes have the order of their bits.
        let largest = elements.iter().fold(0, |largest, x| largest.max(x.to_bits() & 0x7fff));
        Self::from_bits(largest).to_f32()
    }

    #[inline(always)]
    fn widen<S: Simd>(simd: S, from: &[Self], to: &mut [f32]) {
        let whole = from.len().min(to.len()) / S::LANES * S::LANES;
        for at in (0..whole).step_by(S::LANES) {
            simd.store(simd.load_f16(&from[at..]), &mut to[at..]);
        }
        for (to, from) in to[whole..].iter_mut().zip(&from[whole..]) {
            *to = from.to_f32();
        }
    }

    #[inline(always)]
    fn narrow<S: Simd>(simd: S, from: &[f32], to: &mut [Self]) {
        let whole = from.len().min(to.len()) / S::LANES * S::LANES;
        for at in (0..whole).step_by(S::LANES) {
            simd.store_f16(simd.load(&from[at..]), &mut to[at..]);
        }
        for (to, from) in to[whole..].iter_mut().zip(&from[whole..]) {
            *to = f16::from_f32(*from);
        }
    }
}
