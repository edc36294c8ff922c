//! The order in which samples are seen, as a function of the seed and a position.

use crate::random::{SplitMix64, mix};

/// An endless walk over `len` samples: every epoch visits each once, in an order of its own.
///
/// The position is the whole state: an order put to the same position goes on with the same samples.
///
/// ```
/// use qtuner_train::data::SampleOrder;
///
/// let mut order = SampleOrder::new(42, 5);
/// let seen: Vec<usize> = order.by_ref().take(7).collect();
/// let mut resumed = SampleOrder::new(42, 5);
/// resumed.set_position(7);
/// assert_eq!(resumed.next(), order.next());
/// let mut epoch = seen[..5].to_vec();
/// epoch.sort();
/// assert_eq!(epoch, [0, 1, 2, 3, 4]);
/// ```
#[derive(Debug, Clone)]
pub struct SampleOrder {
    seed: u64,
    len: usize,
    position: u64,
    epoch: Option<u64>,
    permutation: Vec<usize>,
}

impl SampleOrder {
    /// The order of `len` samples for `seed`, at its beginning.
    pub fn new(seed: u64, len: usize) -> Self {
        Self { seed, len, position: 0, epoch: None, permutation: Vec::new() }
    }

    /// How many samples were seen.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Goes to where `position` samples were seen.
    pub fn set_position(&mut self, position: u64) {
        self.position = position;
    }

    /// Fisher and Yates' shuffle, seeded by the run's seed and the epoch.
    fn shuffle(&mut self, epoch: u64) {
        let mut random = SplitMix64::new(mix(self.seed, epoch));
        self.permutation = (0..self.len).collect();
        for last in (1..self.len).rev() {
            let other = random.below(last as u64 + 1);
            self.permutation.swap(last, usize::try_from(other).unwrap_or(last));
        }
        self.epoch = Some(epoch);
    }
}

impl Iterator for SampleOrder {
    type Item = usize;

    /// The next sample's index; nothing only when there are no samples.
    fn next(&mut self) -> Option<usize> {
        let len = u64::try_from(self.len).ok().filter(|len| *len > 0)?;
        let epoch = self.position / len;
        if self.epoch != Some(epoch) {
            self.shuffle(epoch);
        }
        let place = usize::try_from(self.position % len).ok()?;
        self.position += 1;
        self.permutation.get(place).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_epoch_sees_every_sample_once_in_an_order_of_its_own(seed: u64, len in 1usize..200) {
            let mut order = SampleOrder::new(seed, len);
            let first: Vec<usize> = order.by_ref().take(len).collect();
            let second: Vec<usize> = order.by_ref().take(len).collect();
            prop_assert!(len < 20 || first != second);
            for mut epoch in [first, second] {
                epoch.sort_unstable();
                prop_assert_eq!(epoch, (0..len).collect::<Vec<_>>());
            }
        }

        #[test]
        fn the_position_is_the_whole_state(seed: u64, len in 1usize..50, position in 0u64..500) {
            let mut walked = SampleOrder::new(seed, len);
            for _ in 0..position {
                walked.next();
            }
            let mut put = SampleOrder::new(seed, len);
            put.set_position(position);
            prop_assert!(walked.take(60).eq(put.take(60)));
        }
    }
}
