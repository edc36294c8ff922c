//! Random numbers for sampling: `SplitMix64` (Steele, Lea and Flood, 2014), the same on every machine.

/// A stream of random numbers.
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    /// The stream of a row: rows of one seed have unrelated streams.
    pub(super) fn new(seed: u64, row: u64) -> Self {
        let mut rows = Self(row);
        Self(seed ^ rows.bits())
    }

    /// A number in `0.0..1.0`, with 53 random bits.
    #[allow(clippy::cast_precision_loss, reason = "53 bits fit")]
    pub(super) fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
