//! What activations are made of.

use half::bf16;

/// A dtype that is computed with in f32.
pub(super) trait Element: Copy {
    fn wide(self) -> f32;
    /// Rounds to the nearest, ties to even; NaN stays NaN.
    fn narrow(x: f32) -> Self;
}

impl Element for f32 {
    #[inline(always)]
    fn wide(self) -> f32 {
        self
    }

    #[inline(always)]
    fn narrow(x: f32) -> Self {
        x
    }
}

impl Element for bf16 {
    #[inline(always)]
    fn wide(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    // Without a branch, unlike `bf16::from_f32`, so that loops are vectorized.
    #[inline(always)]
    fn narrow(x: f32) -> Self {
        let bits = x.to_bits();
        let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
        let bits = if x.is_nan() { bits | 0x0040_0000 } else { rounded };
        bf16::from_bits((bits >> 16) as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rounding_is_that_of_half(bits: u32) {
            let x = f32::from_bits(bits);
            let (found, expected) = (bf16::narrow(x), bf16::from_f32(x));
            prop_assert!(found == expected || found.is_nan() && expected.is_nan());
            prop_assert!(found.wide().to_bits() == expected.to_f32().to_bits() || expected.is_nan());
        }
    }
}
