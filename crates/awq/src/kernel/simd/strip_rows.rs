//! Rows of packed words, read without a check for each.
#![allow(unsafe_code, reason = "references into rows whose bounds were checked once")]

use std::marker::PhantomData;

use crate::kernel::packed::STRIP_WORDS;

/// Rows side by side.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows<'a> {
    words: &'a [i32],
    row_words: usize,
    count: usize,
}

impl<'a> Rows<'a> {
    /// All rows of `words`.
    #[inline(always)]
    pub(crate) fn new(words: &'a [i32], row_words: usize) -> Self {
        Self { words, row_words, count: words.len() / row_words }
    }

    /// The strip that starts with word `word` of each row.
    ///
    /// # Panics
    ///
    /// If a row ends before the strip does.
    #[inline(always)]
    pub(crate) fn strip(&self, word: usize) -> StripRows<'a> {
        assert!(word < self.row_words && self.row_words - word >= STRIP_WORDS, "a strip within the row");
        StripRows {
            first: self.words.as_ptr().wrapping_add(word),
            row_words: self.row_words,
            count: self.count,
            pairs: self.count / 2,
            rows: PhantomData,
        }
    }
}

/// A full strip of some rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StripRows<'a> {
    /// Its first word; `count` rows `row_words` apart have [`STRIP_WORDS`] words there.
    first: *const i32,
    row_words: usize,
    count: usize,
    pairs: usize,
    rows: PhantomData<&'a [i32]>,
}

impl<'a> StripRows<'a> {
    /// How many rows.
    #[inline(always)]
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// How many pairs of rows.
    #[inline(always)]
    pub(crate) fn pairs(&self) -> usize {
        self.pairs
    }

    /// A row.
    ///
    /// # Panics
    ///
    /// If there is no such row.
    #[inline(always)]
    pub(crate) fn row(&self, index: usize) -> &'a [i32; STRIP_WORDS] {
        assert!(index < self.count, "a row among those counted");
        // SAFETY: the row is there, see `first`, for as long as the words are borrowed.
        unsafe { &*self.first.add(index * self.row_words).cast() }
    }

    /// Two rows, the second one after the first.
    ///
    /// # Panics
    ///
    /// If there is no such pair.
    #[inline(always)]
    pub(crate) fn pair(&self, index: usize) -> [&'a [i32; STRIP_WORDS]; 2] {
        assert!(index < self.pairs, "a pair among those counted");
        // SAFETY: as above, for both rows.
        unsafe {
            let first = self.first.add(2 * index * self.row_words);
            [&*first.cast(), &*first.add(self.row_words).cast()]
        }
    }
}
