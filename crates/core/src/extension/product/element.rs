//! Dtypes of activations.

use super::simd::Simd;
use half::bf16;

/// A dtype that widens to f32 exactly.
pub(super) trait Element: Copy {
    fn widened(self) -> f32;
    /// The nearest, ties to even.
    fn rounded(x: f32) -> Self;
    /// A vector of elements from `at` on, widened.
    ///
    /// # Safety
    /// `at + LANES` is at most the length.
    unsafe fn load_at<S: Simd>(simd: S, from: &[Self], at: usize) -> S::F;
}

impl Element for f32 {
    #[inline(always)]
    fn widened(self) -> f32 {
        self
    }

    #[inline(always)]
    fn rounded(x: f32) -> Self {
        x
    }

    #[inline(always)]
    unsafe fn load_at<S: Simd>(simd: S, from: &[Self], at: usize) -> S::F {
        // SAFETY: as promised by the caller.
        unsafe { simd.load_at(from, at) }
    }
}

impl Element for bf16 {
    #[inline(always)]
    fn widened(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    // Without a branch, so that loops over it become vectors.
    #[inline(always)]
    fn rounded(x: f32) -> Self {
        let bits = x.to_bits();
        let nearest = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
        let bits = if x.is_nan() { bits | 0x0040_0000 } else { nearest };
        Self::from_bits((bits >> 16) as u16)
    }

    #[inline(always)]
    unsafe fn load_at<S: Simd>(simd: S, from: &[Self], at: usize) -> S::F {
        // SAFETY: as promised by the caller.
        unsafe { simd.load_bf16_at(from, at) }
    }
}
