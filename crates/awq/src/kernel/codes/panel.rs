//! More rows of activations: a strip of a run is unpacked once, and multiplied tile by tile.

use super::piece::{PieceTask, scales};
use super::stepwise::Stepwise;
use super::tiled::Tiled;
use super::zeros::Zeros;
use crate::kernel::ahead::{Ahead, Fetch};
use crate::kernel::packed::{Packed, STRIP_COLUMNS, STRIP_WORDS, Segment};
use crate::kernel::parts::Sums;
use crate::kernel::simd::{Aligned, CodeJob, CodePairs, Simd, StripRows};
use crate::kernel::strips::{LONGEST, Padded, Strips, strips};

use half::bf16;

/// Steps of a run: pairs of weight rows.
pub(super) const STEPS: usize = LONGEST / 2;

/// The pairs of differences of a strip: the right sides of a run's steps.
pub(super) type Panel = [Aligned<STRIP_COLUMNS>; STEPS];

/// How panels are multiplied.
pub(super) trait Products<A: CodePairs> {
    /// Takes the activations that a run meets.
    fn begin(&mut self, x: &[bf16], packed: &Packed<'_>, segment: Segment);
    /// Adds the products of a strip of the run, scaled, to the sums of all rows.
    fn add(&mut self, pairs: A, panel: &Panel, scales: &Sums, sums: &mut [Sums]);
}

/// The products of a piece, for more rows of activations than `direct` takes.
pub(super) struct Paneled<'a, 'b>(pub(super) &'b mut PieceTask<'a>);

impl CodeJob for Paneled<'_, '_> {
    #[inline(always)]
    fn run<A: CodePairs>(self, pairs: A) {
        match pairs.amx() {
            Some(amx) => {
                let products = Tiled::new(amx, self.0.rows);
                self.multiply(pairs, products);
            }
            None => self.multiply(pairs, Stepwise::new()),
        }
    }
}

impl Paneled<'_, '_> {
    #[inline(always)]
    fn multiply<A: CodePairs>(self, pairs: A, mut products: impl Products<A>) {
        let PieceTask { x, packed, piece, next, rows, sums, finite } = self.0;
        let (packed, piece, rows) = (*packed, *piece, *rows);
        let mut panel: Panel = [Aligned([0.0; STRIP_COLUMNS]); STEPS];
        let mut padded = Padded::new();
        for segment in packed.segments(piece.weight_rows(), LONGEST) {
            products.begin(x, packed, segment);
            let mut ahead = Ahead::new(packed, piece, *next, segment);
            let mut of_strips = sums.chunks_exact_mut(rows).enumerate();
            for Strips { rows: words, zeros, words: [start, end] } in
                strips(packed, piece, segment, &mut padded)
            {
                for (word, (index, sums)) in (start..end).step_by(STRIP_WORDS).zip(of_strips.by_ref()) {
                    let strip = packed.strip(piece.strips[0] + index);
                    let zeros = Zeros::new(pairs, &zeros[word..]);
                    unpack(pairs, zeros, words.strip(word), &mut panel, &mut ahead);
                    ahead.turn(pairs.simd(), segment.count);
                    products.add(pairs, &panel, &scales(pairs, packed, segment.group, strip), sums);
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
