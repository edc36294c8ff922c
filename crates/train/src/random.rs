//! A small random generator of our own: the order of the data must not depend on who else draws from libtorch's.

/// `SplitMix64` (Steele, Lea and Flood, 2014): one 64-bit word of state.
#[derive(Debug, Clone)]
pub(crate) struct SplitMix64(u64);

impl SplitMix64 {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in `0..bound`, without bias: draws beyond the last whole multiple of `bound` are thrown away.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        let bound = bound.max(1);
        let whole = u64::MAX - u64::MAX % bound;
        loop {
            let draw = self.next_u64();
            if draw < whole {
                return draw % bound;
            }
        }
    }
}

/// A seed made of two: equal pairs give equal seeds, neighbours give unrelated ones.
pub(crate) fn mix(seed: u64, index: u64) -> u64 {
    let first = SplitMix64::new(seed).next_u64();
    SplitMix64::new(first ^ index).next_u64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_gives_the_published_sequence() {
        // The first outputs for seed 1234567 of the authors' C code.
        let mut random = SplitMix64::new(1_234_567);
        let drawn: Vec<u64> = (0..3).map(|_| random.next_u64()).collect();
        assert_eq!(drawn, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }
}
