//! What to fetch while something else is multiplied: the next run of rows, in the order of memory.

use super::packed::{Packed, STRIP_WORDS, Segment};
use super::parts::Piece;
use super::simd::Simd;

/// The words to fetch during one strip of a run: two cache lines for each pair of its rows.
#[derive(Clone, Copy)]
pub(crate) struct Ahead<'a> {
    words: &'a [i32],
    at: usize,
    second: usize,
    step: usize,
}

impl<'a> Ahead<'a> {
    /// For strip `index` of the run `now` of `piece`. Behind the last run comes the first one of `next`.
    pub(crate) fn new(
        packed: &'a Packed<'a>,
        piece: Piece,
        next: Option<Piece>,
        now: Segment,
        index: usize,
    ) -> Self {
        let (words, row_words) = (packed.words(), packed.row_words());
        let after = now.first + now.count;
        let (piece, row) = match next {
            _ if after < piece.rows[1] => (piece, after),
            Some(next) => (next, next.rows[0]),
            None => return Self { words, at: now.first * row_words, second: 0, step: 0 },
        };
        let place = |row: usize, strip: usize| row * row_words + (piece.strips[0] + strip) * STRIP_WORDS;
        match piece.width() {
            1 => Self { words, at: place(row, 0), second: row_words, step: 2 * row_words },
            2 => {
                let at = place(row + index * now.count / 2, 0);
                Self { words, at, second: STRIP_WORDS, step: row_words }
            }
            width => {
                let line = index * now.count;
                let at = place(row + line / width, line % width);
                Self { words, at, second: STRIP_WORDS, step: 2 * STRIP_WORDS }
            }
        }
    }

    /// Fetches the next words.
    #[inline(always)]
    pub(crate) fn fetch<S: Simd>(&mut self, simd: S) {
        simd.prefetch(self.words, self.at);
        simd.prefetch(self.words, self.at + self.second);
        self.at += self.step;
    }
}
