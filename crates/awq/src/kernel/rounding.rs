//! Rounding f32 to the 16-bit float types, to nearest with ties to even: subnormals kept, overflow to infinity.
//!
//! Free of branches on the value, so that loops over it vectorise.

use half::bf16;

/// Rounds to the nearest f16 value, returned as f32.
#[inline(always)]
pub(crate) fn round_f16(x: f32) -> f32 {
    let bits = x.to_bits();
    let sign = bits & 0x8000_0000;
    let magnitude = bits & 0x7fff_ffff;
    // Normal range: keep 10 of the 23 fraction bits; a carry into the exponent is the right result.
    let kept = (magnitude.wrapping_add(0x0fff + ((magnitude >> 13) & 1))) & !0x1fff;
    // 65520 and above round to infinity.
    let normal = if magnitude >= 0x477f_f000 { 0x7f80_0000 } else { kept };
    // Below 2^-14 the spacing is 2^-24, which is that of f32 in [0.5, 1).
    let subnormal = ((f32::from_bits(magnitude) + 0.5) - 0.5).to_bits();
    let finite = if magnitude < 0x3880_0000 { subnormal } else { normal };
    let quiet = (magnitude | 0x0040_0000) & !0x1fff;
    let rounded = if magnitude > 0x7f80_0000 { quiet } else { finite };
    f32::from_bits(sign | rounded)
}

/// The bits of the nearest bf16 value.
#[inline(always)]
fn bf16_bits(x: f32) -> u32 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1));
    let chosen = if bits & 0x7fff_ffff > 0x7f80_0000 { bits | 0x0040_0000 } else { rounded };
    chosen >> 16
}

/// Rounds to the nearest bf16 value, returned as f32.
#[inline(always)]
pub(crate) fn round_bf16(x: f32) -> f32 {
    f32::from_bits(bf16_bits(x) << 16)
}

/// Rounds to the nearest bf16 value.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the upper half is zero")]
pub(crate) fn narrow_bf16(x: f32) -> bf16 {
    bf16::from_bits(bf16_bits(x) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::f16;
    use proptest::prelude::*;

    fn check(x: f32) {
        assert_eq!(round_f16(x).to_bits(), f16::from_f32(x).to_f32().to_bits(), "f16 of {x:e}");
        assert_eq!(round_bf16(x).to_bits(), bf16::from_f32(x).to_f32().to_bits(), "bf16 of {x:e}");
        assert_eq!(narrow_bf16(x).to_bits(), bf16::from_f32(x).to_bits(), "bf16 bits of {x:e}");
    }

    #[test]
    fn rounding_agrees_with_half_at_the_edges() {
        let edges =
            [0.0, 5.96e-8, 2.98e-8, 2.980_233e-8, 6.1e-5, 6.097_555e-5, 65504.0, 65519.996, 65520.0, 1e5];
        for edge in edges.into_iter().chain([f32::MAX, f32::INFINITY, f32::NAN, f32::MIN_POSITIVE, 1e-45]) {
            check(edge);
            check(-edge);
        }
    }

    proptest! {
        #[test]
        fn rounding_agrees_with_half(bits in any::<u32>()) {
            check(f32::from_bits(bits));
        }

        #[test]
        fn rounding_agrees_with_half_where_f16_is_finite(x in -7e4f32..7e4, tiny in -1e-4f32..1e-4) {
            check(x);
            check(tiny);
        }
    }
}
