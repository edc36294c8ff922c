//! More rows of activations: a strip of a run is unpacked once, and multiplied tile by tile.

use super::MOST_ROWS;
use super::piece::{PieceTask, pack, scales};
use super::zeros::{HALF, Zeros};
use crate::kernel::ahead::{Ahead, Fetch};
use crate::kernel::packed::{STRIP_COLUMNS, STRIP_WORDS, WORD_COLUMNS};
use crate::kernel::parts::Sums;
use crate::kernel::simd::{Aligned, CodeJob, CodePairs, Simd, StripRows};
use crate::kernel::strips::{LONGEST, Padded, Strips, strips};

/// The most rows of activations in a tile.
const TILE: usize = 6;

/// The pairs of differences of a strip: the right sides of a run's steps.
type Panel = [Aligned<STRIP_COLUMNS>; LONGEST / 2];

/// The products of a piece, for seven rows of activations and more.
pub(super) struct Paneled<'a, 'b>(pub(super) &'b mut PieceTask<'a>);

impl CodeJob for Paneled<'_, '_> {
    #[inline(always)]
    fn run<A: CodePairs>(self, pairs: A) {
        let PieceTask { x, packed, piece, next, rows, sums, finite } = self.0;
        let (packed, piece, rows) = (*packed, *piece, *rows);
        let mut steps = [[0.0; MOST_ROWS]; LONGEST / 2];
        let mut panel: Panel = [Aligned([0.0; STRIP_COLUMNS]); LONGEST / 2];
        let mut padded = Padded::new();
        for segment in packed.segments(piece.weight_rows(), LONGEST) {
            let steps = &mut steps[..segment.count / 2];
            pack(x, packed, segment, steps);
            let mut ahead = Ahead::new(packed, piece, *next, segment);
            let mut of_strips = sums.chunks_exact_mut(rows).enumerate();
            for Strips { rows: words, zeros, words: [start, end] } in
                strips(packed, piece, segment, &mut padded)
            {
                for (word, (index, sums)) in (start..end).step_by(STRIP_WORDS).zip(of_strips.by_ref()) {
                    let strip = packed.strip(piece.strips[0] + index);
                    unpack(
                        pairs,
                        Zeros::new(pairs, &zeros[word..]),
                        words.strip(word),
                        &mut panel,
                        &mut ahead,
                    );
                    ahead.turn(pairs.simd(), segment.count);
                    let scales = scales(pairs, packed, segment.group, strip);
                    let mut tiles = Tiles { pairs, panel: &panel, steps, scales: &scales, sums };
                    // Of nearly equal heights.
                    let count = rows.div_ceil(TILE);
                    for index in 0..count {
                        let (row, end) = (rows * index / count, rows * (index + 1) / count);
                        match end - row {
                            3 => tiles.add::<3>(row),
                            4 => tiles.add::<4>(row),
                            5 => tiles.add::<5>(row),
                            _ => tiles.add::<TILE>(row),
                        }
                    }
                }
            }
            if segment.ends {
                *finite &= packed.strips_are_finite(segment.group, piece.strips);
            }
        }
    }
}

/// Writes the differences of all pairs of rows.
#[inline(always)]
fn unpack<A: CodePairs>(
    pairs: A,
    zeros: Zeros<A>,
    words: StripRows<'_>,
    panel: &mut Panel,
    ahead: &mut Ahead<'_>,
) {
    let simd = pairs.simd();
    for (index, to) in panel[..words.pairs()].iter_mut().enumerate() {
        ahead.fetch(simd);
        ahead.fetch(simd);
        let [first, second] = words.pair(index);
        let (first, second) = (simd.words(first), simd.words(second));
        let halves =
            [zeros.of_first_words(pairs, [first, second]), zeros.of_last_words(pairs, [first, second])];
        for (v, right) in halves.as_flattened().iter().enumerate() {
            simd.store(*right, &mut to.0[v * STRIP_WORDS..]);
        }
    }
}

/// A strip of a run, unpacked.
struct Tiles<'a, A> {
    pairs: A,
    panel: &'a Panel,
    steps: &'a [[f32; MOST_ROWS]],
    scales: &'a Sums,
    /// Of all rows.
    sums: &'a mut [Sums],
}

impl<A: CodePairs> Tiles<'_, A> {
    /// Adds the products of rows `row ..+ R`.
    #[inline(always)]
    fn add<const R: usize>(&mut self, row: usize) {
        let (pairs, simd) = (self.pairs, self.pairs.simd());
        let to = self.sums[row..].first_chunk_mut::<R>().expect("a tile's rows are there");
        for first in (0..WORD_COLUMNS).step_by(HALF) {
            let mut sums = [[simd.splat(0.0); HALF]; R];
            for (steps, from) in self.steps.iter().zip(self.panel) {
                let left = steps[row..].first_chunk::<R>().expect("a step has all rows");
                let mut right = [simd.splat(0.0); HALF];
                for (v, right) in right.iter_mut().enumerate() {
                    *right = simd.load(&from.0[(first + v) * STRIP_WORDS..]);
                }
                for (sums, left) in sums.iter_mut().zip(left) {
                    for (sum, right) in sums.iter_mut().zip(right) {
                        *sum = pairs.step(*left, right, *sum);
                    }
                }
            }
            for (to, sums) in to.iter_mut().zip(sums) {
                for (v, sum) in sums.into_iter().enumerate() {
                    let at = (first + v) * STRIP_WORDS;
                    let to = &mut to.0[at..];
                    simd.store(simd.mul_add(simd.load(&self.scales.0[at..]), sum, simd.load(to)), to);
                }
            }
        }
    }
}
