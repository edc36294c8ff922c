//! Rows as tensors.

use super::{IGNORED, Sample};
use tch::{TchError, Tensor};

/// What one forward pass takes, on the CPU: `batch` rows of `time` tokens.
#[derive(Debug)]
#[non_exhaustive]
pub struct Batch {
    /// Token numbers `[batch, time]` (i64), filled up with the padding token.
    pub tokens: Tensor,
    /// The documents `[batch, time]` (i64) if a row has several. Otherwise none are needed: padding is at the end of a row,
    /// where no real token sees it.
    pub segments: Option<Tensor>,
    /// The positions, row by row, whose prediction counts `[n]` (i64).
    pub positions: Tensor,
    /// What is to be predicted there `[n]` (i64).
    pub targets: Tensor,
    /// The row of each counting position.
    pub rows: Vec<usize>,
    /// How many rows there are.
    pub size: usize,
    /// How many tokens are no padding.
    pub real_tokens: usize,
}

impl Batch {
    /// A batch of `samples`, padded to the longest with `pad`.
    ///
    /// # Errors
    /// libtorch's, when memory runs out.
    pub fn new(samples: &[&Sample], pad: u32) -> Result<Self, TchError> {
        let time = samples.iter().map(|sample| sample.len()).max().unwrap_or(0);
        let mut tokens = Vec::with_capacity(samples.len() * time);
        let mut segments = Vec::with_capacity(samples.len() * time);
        let (mut positions, mut targets, mut rows) = (Vec::new(), Vec::new(), Vec::new());
        for (row, sample) in samples.iter().enumerate() {
            for (position, target) in sample.targets().into_iter().enumerate() {
                if target != IGNORED {
                    positions.push(index(row * time + position));
                    targets.push(target);
                    rows.push(row);
                }
            }
            tokens.extend(sample.tokens.iter().map(|token| i64::from(*token)));
            tokens.resize((row + 1) * time, i64::from(pad));
            segments.extend(sample.segments.iter().map(|segment| i64::from(*segment)));
            segments.resize((row + 1) * time, 0);
        }
        let shape = [index(samples.len()), index(time)];
        let packed = samples.iter().any(|sample| sample.segments.last().is_some_and(|last| *last > 1));
        let matrix = |values: &[i64]| Tensor::f_from_slice(values)?.f_reshape(shape);
        Ok(Self {
            tokens: matrix(&tokens)?,
            segments: packed.then(|| matrix(&segments)).transpose()?,
            positions: Tensor::f_from_slice(&positions)?,
            targets: Tensor::f_from_slice(&targets)?,
            rows,
            size: samples.len(),
            real_tokens: samples.iter().map(|sample| sample.len()).sum(),
        })
    }

    /// How many targets the loss counts.
    pub fn loss_tokens(&self) -> usize {
        self.rows.len()
    }
}

/// Sizes of memory fit in an `i64`.
fn index(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(tensor: &Tensor) -> Vec<i64> {
        Vec::try_from(tensor.reshape([-1])).expect("i64 values")
    }

    #[test]
    fn short_rows_are_padded_and_padding_never_counts() {
        let (long, short) = (Sample::window(&[5, 6, 7]), Sample::window(&[8, 9]));
        let batch = Batch::new(&[&short, &long], 0).expect("a batch");
        assert_eq!(values(&batch.tokens), [8, 9, 0, 5, 6, 7]);
        assert!(batch.segments.is_none());
        assert_eq!(values(&batch.positions), [0, 3, 4]);
        assert_eq!(values(&batch.targets), [9, 6, 7]);
        assert_eq!((batch.rows.as_slice(), batch.real_tokens), ([0, 1, 1].as_slice(), 5));
    }

    #[test]
    fn packed_rows_say_their_documents() {
        let mut packed = Sample::empty();
        packed.push(&[1, 2], &[true, true]);
        packed.push(&[3, 4, 5], &[false, false, true]);
        let longer = Sample::window(&[1; 6]);
        let batch = Batch::new(&[&packed, &longer], 9).expect("a batch");
        let segments = batch.segments.as_ref().map(values).expect("several documents");
        assert_eq!(segments, [1, 1, 2, 2, 2, 0, 1, 1, 1, 1, 1, 1]);
        assert_eq!(values(&batch.targets)[..2], [2, 5]);
    }
}
