//! The columns of a strip, word by word: all rows of activations that share a pass meet the rows of a word's column, and a tile of
//! sums stays in registers meanwhile.

use std::ops::Range;

use super::group::Group;
use crate::kernel::packed::{BLOCK_ROWS, NIBBLE_COLUMN, Packed, STRIP_WORDS, Strip, WORD_COLUMNS};
use crate::kernel::parts::Sums;
use crate::kernel::simd::{Aligned, Operation, SUMS, Simd, Table};
use crate::kernel::weigh::Weigh;

/// Sums of some rows of activations in some columns of a word, row by row.
pub(super) type Tile = Aligned<SUMS>;

/// Activations of a row that meet a block of weight rows.
pub(super) type Left = Aligned<BLOCK_ROWS>;

/// How far ahead words are fetched at most, in words: 8 KiB.
const AHEAD: usize = 2048;

/// A strip of some rows of the weight, and the rows of activations of a pass.
pub(super) struct Stretch<'a, W> {
    pub(super) weigh: W,
    pub(super) packed: &'a Packed<'a>,
    pub(super) strip: Strip,
    pub(super) rows: Range<usize>,
    /// For each block of the whole weight, the rows of the pass.
    pub(super) left: &'a [Left],
    /// The parts of groups that the rows make.
    pub(super) groups: &'a [Group],
    /// Those of each word.
    pub(super) sums: &'a mut [Tile],
}

impl<W: Weigh> Stretch<'_, W> {
    /// Adds the products of a pass of so many rows.
    #[inline(always)]
    pub(super) fn add<S: Simd>(self, simd: S, rows: usize) {
        match rows {
            1 => simd.vectorize(Columns::<W, 1, 8>(self)),
            2 => simd.vectorize(Columns::<W, 2, 8>(self)),
            3 => simd.vectorize(Columns::<W, 3, 4>(self)),
            4 => simd.vectorize(Columns::<W, 4, 4>(self)),
            5 => simd.vectorize(Columns::<W, 5, 2>(self)),
            6 => simd.vectorize(Columns::<W, 6, 2>(self)),
            7 => simd.vectorize(Columns::<W, 7, 2>(self)),
            _ => simd.vectorize(Columns::<W, 8, 2>(self)),
        }
    }
}

/// The columns of a tile of so many rows, as above.
fn columns(rows: usize) -> usize {
    match rows {
        1 | 2 => 8,
        3 | 4 => 4,
        _ => 2,
    }
}

/// Makes these the tiles of a strip, for a pass of so many rows, and of zeros.
pub(super) fn clear(sums: &mut Vec<Tile>, rows: usize) {
    sums.clear();
    sums.resize(STRIP_WORDS * WORD_COLUMNS / columns(rows), Aligned([0.0; SUMS]));
}

/// The sums of one of so many rows, by column.
#[inline(always)]
pub(super) fn row_of(sums: &[Tile], rows: usize, row: usize) -> Sums {
    let columns = columns(rows);
    let mut out = Aligned([0.0; STRIP_WORDS * WORD_COLUMNS]);
    let words = out.0.chunks_exact_mut(WORD_COLUMNS).zip(sums.chunks_exact(WORD_COLUMNS / columns));
    for (out, tiles) in words {
        for (nibble, column) in NIBBLE_COLUMN.into_iter().enumerate() {
            out[column] = tiles[nibble / columns].0[row * columns + nibble % columns];
        }
    }
    out
}

/// All columns of a stretch, `R` rows and `C` columns at a time.
struct Columns<'a, W, const R: usize, const C: usize>(Stretch<'a, W>);

impl<W: Weigh, const R: usize, const C: usize> Operation for Columns<'_, W, R, C> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Stretch { weigh, packed, strip, rows, left, groups, sums } = self.0;
        let left = &left.as_chunks::<R>().0[rows.start / BLOCK_ROWS..rows.end / BLOCK_ROWS];
        for (word, sums) in sums.chunks_exact_mut(WORD_COLUMNS / C).enumerate().take(strip.words) {
            let this = packed.place(rows.start, strip.word + word);
            // Behind the last word comes the first one, further down.
            let next = if word + 1 < strip.words {
                packed.place(rows.start, strip.word + word + 1)
            } else {
                packed.place(rows.end % packed.in_features(), strip.word)
            };
            let words = packed.column(strip.word + word, rows.clone()).as_chunks().0;
            let column = Column { weigh, all: packed.words(), words, word, this, next, groups, left };
            column.add::<S, C, 0>(simd, sums);
            if C <= 4 {
                column.add::<S, C, 4>(simd, sums);
            }
            if C <= 2 {
                column.add::<S, C, 2>(simd, sums);
                column.add::<S, C, 6>(simd, sums);
            }
        }
    }
}

/// One word's column.
struct Column<'a, W, const R: usize> {
    weigh: W,
    all: &'a [i32],
    words: &'a [[i32; BLOCK_ROWS]],
    /// Its number in the strip.
    word: usize,
    /// Where it is in memory, and where to read on.
    this: usize,
    next: usize,
    groups: &'a [Group],
    left: &'a [[Left; R]],
}

impl<W: Weigh, const R: usize> Column<'_, W, R> {
    /// What to fetch when block `block` is met.
    #[inline(always)]
    fn ahead(&self, block: usize) -> usize {
        let rows = self.words.len() * BLOCK_ROWS;
        let ahead = block * BLOCK_ROWS + AHEAD.min(rows);
        if ahead < rows { self.this + ahead } else { self.next + (ahead - rows) }
    }

    /// Adds the sums of `C` nibbles from `FIRST` on.
    #[inline(always)]
    fn add<S: Simd, const C: usize, const FIRST: usize>(&self, simd: S, sums: &mut [Tile]) {
        let mut totals = [[simd.splat(0.0); C]; R];
        let mut at = 0;
        for group in self.groups {
            let of = group.word(self.word);
            let mut tables = [Table([0.0; 16]); C];
            for (c, table) in tables.iter_mut().enumerate() {
                *table = of.table(simd, self.weigh, NIBBLE_COLUMN[FIRST + c]);
            }
            let end = at + group.blocks;
            let blocks = self.words[at..end].iter().zip(&self.left[at..end]);
            for (block, (words, left)) in (at..end).zip(blocks) {
                let ahead = self.ahead(block);
                for row in (0..BLOCK_ROWS).step_by(S::LANES) {
                    if FIRST == 0 {
                        simd.prefetch(self.all, ahead + row);
                    }
                    let mut words = simd.words(&words[row..]);
                    if FIRST > 0 {
                        words = simd.skip(words, FIRST);
                    }
                    if R <= 2 {
                        let mut x = [simd.splat(0.0); R];
                        for r in 0..R {
                            x[r] = simd.load(&left[r].0[row..]);
                        }
                        for c in 0..C {
                            let weights = simd.lookup(&tables[c], words);
                            words = simd.next(words);
                            for r in 0..R {
                                totals[r][c] = simd.mul_add(weights, x[r], totals[r][c]);
                            }
                        }
                    } else {
                        let mut weights = [simd.splat(0.0); C];
                        for c in 0..C {
                            weights[c] = simd.lookup(&tables[c], words);
                            words = simd.next(words);
                        }
                        for r in 0..R {
                            let x = simd.load(&left[r].0[row..]);
                            for c in 0..C {
                                totals[r][c] = simd.mul_add(weights[c], x, totals[r][c]);
                            }
                        }
                    }
                }
            }
            at = end;
        }
        let mut all = [simd.splat(0.0); SUMS];
        for r in 0..R {
            for c in 0..C {
                all[r * C + c] = totals[r][c];
            }
        }
        for (sum, more) in sums[FIRST / C].0.iter_mut().zip(simd.sums(all).0) {
            *sum += more;
        }
    }
}
