//! One row of a batch before it is a tensor.

/// The target of a position that the loss leaves out, as PyTorch's `ignore_index`.
pub const IGNORED: i64 = -100;

/// A row: tokens, the document of each, and which of them the loss counts.
///
/// The three have one length. Documents are numbered from 1 in the order of the row; 0 is padding and only at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    pub(super) tokens: Vec<u32>,
    pub(super) segments: Vec<u32>,
    pub(super) counts: Vec<bool>,
}

impl Sample {
    /// A row without tokens.
    pub(super) fn empty() -> Self {
        Self { tokens: Vec::new(), segments: Vec::new(), counts: Vec::new() }
    }

    /// A row of one document whose every token counts.
    pub fn window(tokens: &[u32]) -> Self {
        Self { tokens: tokens.to_vec(), segments: vec![1; tokens.len()], counts: vec![true; tokens.len()] }
    }

    /// One row of all documents of `samples`, which do not see each other.
    pub fn packed(samples: &[Self]) -> Self {
        let mut row = Self::empty();
        for sample in samples {
            let mut start = 0;
            for document in sample.segments.chunk_by(|one, other| one == other) {
                let end = start + document.len();
                row.push(&sample.tokens[start..end], &sample.counts[start..end]);
                start = end;
            }
        }
        row
    }

    /// Adds a document's tokens at the end, in a segment of their own.
    pub(super) fn push(&mut self, tokens: &[u32], counts: &[bool]) {
        let segment = self.segments.last().map_or(1, |last| last + 1);
        self.tokens.extend_from_slice(tokens);
        self.segments.resize(self.tokens.len(), segment);
        self.counts.extend_from_slice(counts);
    }

    /// How many tokens the row has, padding not counted.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The token numbers.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// The document that each token belongs to, from 1.
    pub fn segments(&self) -> &[u32] {
        &self.segments
    }

    /// What each position is to predict: the next token where it counts and is of the same document, else [`IGNORED`].
    ///
    /// ```
    /// use qtuner_train::data::{IGNORED, Sample};
    /// assert_eq!(Sample::window(&[7, 8, 9]).targets(), [8, 9, IGNORED]);
    /// ```
    pub fn targets(&self) -> Vec<i64> {
        let target = |position: usize| {
            let next = position + 1;
            let counts = self.counts.get(next).copied().unwrap_or(false)
                && self.segments[next] == self.segments[position];
            if counts { i64::from(self.tokens[next]) } else { IGNORED }
        };
        (0..self.len()).map(target).collect()
    }

    /// How many tokens its longest document has: one more than the largest position that a model is asked for.
    ///
    /// ```
    /// use qtuner_train::data::Sample;
    /// let row = Sample::packed(&[Sample::window(&[7, 8, 9]), Sample::window(&[5])]);
    /// assert_eq!((row.len(), row.longest_document()), (4, 3));
    /// ```
    pub fn longest_document(&self) -> usize {
        self.segments.chunk_by(|one, other| one == other).map(<[u32]>::len).max().unwrap_or(0)
    }

    /// How many targets the loss counts.
    pub fn loss_tokens(&self) -> usize {
        self.targets().iter().filter(|target| **target != IGNORED).count()
    }
}
