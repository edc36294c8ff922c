//! What to fetch while something else is multiplied or unpacked: the next run of rows, in the order of memory, or the next lines
//! of a strip.

use super::packed::{Packed, STRIP_WORDS, Segment, Strip};
use super::parts::Piece;
use super::simd::Simd;

/// Words that will be wanted, in the order in which to ask for them.
pub(crate) trait Fetch {
    /// Asks for the next line.
    fn fetch<S: Simd>(&mut self, simd: S);
}

/// Nothing is fetched: who reads the words has asked for others.
pub(crate) struct Nothing;

impl Fetch for Nothing {
    #[inline(always)]
    fn fetch<S: Simd>(&mut self, _: S) {}
}

/// A cursor over the cache lines of the next run: those that the present one does not have itself are fetched after each strip.
#[derive(Clone)]
pub(crate) struct Ahead<'a> {
    words: &'a [i32],
    /// The word to fetch.
    at: usize,
    /// Lines of a row, those fetched since one began, and the words between it and the next.
    width: usize,
    fetched: usize,
    gap: usize,
    /// Lines to fetch after each strip: how many more the next run has in it.
    more: usize,
}

impl<'a> Ahead<'a> {
    /// For the run `now` of `piece`. Behind the last run comes the first one of `next`.
    #[inline(always)]
    pub(crate) fn new(packed: &'a Packed<'a>, piece: Piece, next: Option<Piece>, now: Segment) -> Self {
        let (words, row_words) = (packed.words(), packed.row_words());
        let after = now.first + now.count;
        let (piece, row) = match next {
            _ if after < piece.rows[1] => (piece, after),
            Some(next) => (next, next.rows[0]),
            // What is there already.
            None => (piece, now.first),
        };
        let width = piece.width();
        Self {
            words,
            at: row * row_words + piece.strips[0] * STRIP_WORDS,
            width,
            fetched: 0,
            more: now.behind.saturating_sub(now.count),
            gap: row_words.saturating_sub(width * STRIP_WORDS),
        }
    }

    /// After a strip of so many rows, for each of which a line was fetched: fetches what is missing, and goes on in the next row
    /// where this one is fetched.
    #[inline(always)]
    pub(crate) fn turn<S: Simd>(&mut self, simd: S, rows: usize) {
        for _ in 0..self.more {
            self.fetch(simd);
        }
        if self.gap == 0 {
            return;
        }
        self.fetched += rows + self.more;
        while self.fetched >= self.width {
            self.fetched -= self.width;
            self.at += self.gap;
        }
    }
}

impl Fetch for Ahead<'_> {
    #[inline(always)]
    fn fetch<S: Simd>(&mut self, simd: S) {
        simd.prefetch(self.words, self.at);
        self.at += STRIP_WORDS;
    }
}

/// A cursor down the lines of a strip.
pub(crate) struct Down<'a> {
    words: &'a [i32],
    at: usize,
    row_words: usize,
}

impl<'a> Down<'a> {
    /// From the row on that follows `now`.
    #[inline(always)]
    pub(crate) fn new(packed: &'a Packed<'a>, strip: Strip, now: Segment) -> Self {
        let row_words = packed.row_words();
        Self { words: packed.words(), at: (now.first + now.count) * row_words + strip.word, row_words }
    }
}

impl Fetch for Down<'_> {
    #[inline(always)]
    fn fetch<S: Simd>(&mut self, simd: S) {
        simd.prefetch(self.words, self.at);
        self.at += self.row_words;
    }
}
