//! How a weight follows from a difference of codes and a scale, with columns in the lanes.
//!
//! A difference comes multiplied by what its nibble counts in the word, a power of two that the scale is divided by.

use super::packed::Rounding;
use super::simd::Simd;

/// One way.
pub(crate) trait Weigh: Copy {
    /// How many of the vectors that were prepared the weights take.
    const TAKEN: usize = 2;
    /// What the weights of a vector of columns are made of, given their scales, and what the nibble counts.
    fn prepared<S: Simd>(self, simd: S, scales: S::F, place: f32) -> [S::F; 2];
    /// The weights, or what times the first that was prepared is the weights.
    fn weights<S: Simd>(self, simd: S, differences: S::F, prepared: [S::F; 2]) -> S::F;
    /// A sum of products joins the others.
    fn add<S: Simd>(self, simd: S, sum: S::F, total: S::F, prepared: [S::F; 2]) -> S::F;
}

/// `(q - z) * s`, never rounded: the scale is applied to the sum.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unrounded;

impl Weigh for Unrounded {
    const TAKEN: usize = 0;

    #[inline(always)]
    fn prepared<S: Simd>(self, simd: S, scales: S::F, place: f32) -> [S::F; 2] {
        [simd.mul(scales, simd.splat(1.0 / place)); 2]
    }

    #[inline(always)]
    fn weights<S: Simd>(self, _: S, differences: S::F, _: [S::F; 2]) -> S::F {
        differences
    }

    #[inline(always)]
    fn add<S: Simd>(self, simd: S, sum: S::F, total: S::F, [scales, _]: [S::F; 2]) -> S::F {
        simd.mul_add(scales, total, sum)
    }
}

/// `round((q - z) * s)` by half of Veltkamp's split: for `p = (q - z) * s`, `(2^b + 1) * p` loses the last `b` bits of `p` when
/// it is rounded to f32, and `2^b * p` is taken away again.
///
/// Nothing else is rounded: a difference of five bits times the bits of a scale and the factor fits into f32, as does the
/// result. `2^b * p` is an even multiple of the last place, so ties go to even; where the sum has one bit more than
/// `2^b * p`, `p` is within half a place of the next power of two, which is the result. Checked for every difference
/// and every scale of f16 and bf16; the results must be normal numbers of their dtype.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Split {
    /// `2^b + 1`.
    pub(crate) factor: f32,
}

impl Weigh for Split {
    #[inline(always)]
    fn prepared<S: Simd>(self, simd: S, scales: S::F, place: f32) -> [S::F; 2] {
        let [more, less] = [self.factor / place, (self.factor - 1.0) / place];
        [simd.mul(scales, simd.splat(more)), simd.mul(scales, simd.splat(less))]
    }

    #[inline(always)]
    fn weights<S: Simd>(self, simd: S, differences: S::F, [more, less]: [S::F; 2]) -> S::F {
        simd.neg_mul_add(differences, less, simd.mul(differences, more))
    }

    #[inline(always)]
    fn add<S: Simd>(self, simd: S, sum: S::F, total: S::F, _: [S::F; 2]) -> S::F {
        simd.add(sum, total)
    }
}

/// `round((q - z) * s)`, whatever the scale.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rounded(pub(crate) Rounding);

impl Weigh for Rounded {
    #[inline(always)]
    fn prepared<S: Simd>(self, simd: S, scales: S::F, place: f32) -> [S::F; 2] {
        // Any scale: the least ones cannot be divided exactly.
        [scales, simd.splat(1.0 / place)]
    }

    #[inline(always)]
    fn weights<S: Simd>(self, simd: S, differences: S::F, [scales, unit]: [S::F; 2]) -> S::F {
        simd.round(simd.mul(simd.mul(differences, unit), scales), self.0)
    }

    #[inline(always)]
    fn add<S: Simd>(self, simd: S, sum: S::F, total: S::F, _: [S::F; 2]) -> S::F {
        simd.add(sum, total)
    }
}

#[cfg(test)]
mod tests {
    use half::{bf16, f16};

    use super::*;
    use crate::kernel::isa::Isa;
    use crate::kernel::simd::{Operation, PLACES, dispatch};

    /// Sixteen scales, all with one difference, weighed in two ways.
    struct TwoWays {
        scales: [f32; 16],
        difference: f32,
        factor: f32,
        rounding: Rounding,
    }

    impl Operation for TwoWays {
        type Output = ();

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            let (split, rounded) = (Split { factor: self.factor }, Rounded(self.rounding));
            let differences = simd.splat(self.difference);
            for scales in self.scales.chunks_exact(S::LANES) {
                let mut weights = [[0.0; 16]; 2];
                let scales = simd.load(scales);
                for place in PLACES {
                    let [one, other] =
                        [split.prepared(simd, scales, place), rounded.prepared(simd, scales, place)];
                    let differences = simd.mul(differences, simd.splat(place));
                    simd.store(split.weights(simd, differences, one), &mut weights[0]);
                    simd.store(rounded.weights(simd, differences, other), &mut weights[1]);
                    // Of zero, a negative scale's product has a sign and the split's has not, which no sum shows.
                    let [one, other] = weights.map(|weights| weights.map(|weight| (weight + 0.0).to_bits()));
                    assert_eq!(one, other, "{} times {:?}, times {place}", self.difference, self.scales);
                }
            }
        }
    }

    fn check(scales: &[f32], factor: f32, rounding: Rounding) {
        for isa in Isa::available() {
            for difference in (-15i8..16).map(f32::from) {
                for scales in scales.as_chunks().0 {
                    dispatch(isa, TwoWays { scales: *scales, difference, factor, rounding });
                }
            }
        }
    }

    #[test]
    fn veltkamps_split_is_the_rounding_for_every_fraction_of_a_scale_and_every_difference() {
        // The least normal exponent, one in the middle, and the last whose weights are finite; either sign.
        for first in [0x0400, 0x2000, 0x6800, 0xa000] {
            let scales: Vec<f32> = (first..first + 0x400).map(|bits| f16::from_bits(bits).to_f32()).collect();
            check(&scales, 8193.0, Rounding::F16);
        }
        for first in [0x0080, 0x3c00, 0x6000, 0xbc00] {
            let scales: Vec<f32> = (first..first + 0x80).map(|bits| bf16::from_bits(bits).to_f32()).collect();
            check(&scales, 65537.0, Rounding::Bf16);
        }
    }
}
