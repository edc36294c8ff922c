//! The exponential function, in f32, for loops that are vectorized.

/// `e^x`, off by two units in the last place at most, by the reduction and the polynomial of Cephes' `expf`: zero below -87, as at
/// 88 above that.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    const TERMS: [f32; 6] = [1.987_569_1e-4, 1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5];
    /// `ln 2` in two parts, the first of which has few bits.
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    /// Where normal numbers end.
    const LEAST: f32 = -87.0;
    /// So great that its last place is one.
    const WHOLE: f32 = 12_582_912.0;
    let vanishes = x < LEAST;
    let x = x.clamp(LEAST, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + WHOLE;
    let whole = shifted - WHOLE;
    let rest = x - whole * LN_2[0] - whole * LN_2[1];
    let mut power = TERMS[0];
    for term in &TERMS[1..] {
        power = power * rest + term;
    }
    let power = power * (rest * rest) + rest + 1.0;
    let power = power * f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    if vanishes { 0.0 } else { power }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn powers_are_right_to_two_units_in_the_last_place(x in -87.0_f32..88.0) {
            let expected = f64::from(x).exp();
            let error = (f64::from(exp(x)) - expected).abs();
            prop_assert!(error <= 2.0 * f64::from(f32::EPSILON) * expected, "{} at {x}", error / expected);
        }
    }
}
