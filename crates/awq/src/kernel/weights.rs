//! Weights out of codes, exactly: `round((q - z) * s)`, for the rows of one group and the columns of one strip.
//!
//! Two ways, for two directions of vectors (`weigh` has a third, by nibble). [`Columns`] computes each weight, with columns in the lanes.
//! [`Tables`] rounds the sixteen values that a column can take within a group once, and then looks each weight up,
//! with rows in the lanes: three times cheaper wherever a group has more rows than a vector has lanes.

use super::packed::{
    NIBBLE_COLUMN, Packed, Rounding, STRIP_COLUMNS, STRIP_WORDS, Segment, Strip, WORD_COLUMNS,
};
use super::simd::{Aligned, Arithmetic, CODE_OFFSET, Lanes, Simd, Table};

/// All codes, plus [`CODE_OFFSET`].
pub(super) const CODES: Table = {
    let mut codes = [CODE_OFFSET; 16];
    let mut code = 1;
    while code < codes.len() {
        codes[code] = codes[code - 1] + 1.0;
        code += 1;
    }
    Table(codes)
};

/// The zero points, plus [`CODE_OFFSET`], and scales of a strip's columns.
#[derive(Debug)]
pub(crate) struct Columns {
    zeros: Aligned<STRIP_COLUMNS>,
    scales: Aligned<STRIP_COLUMNS>,
    rounding: Rounding,
}

impl Columns {
    /// Reads those of `group`.
    #[inline(always)]
    pub(crate) fn new<S: Simd>(simd: S, packed: &Packed<'_>, group: usize, strip: Strip) -> Self {
        let words = packed.zero_strip(group, strip);
        let mut zeros = Aligned([0.0; STRIP_COLUMNS]);
        for column in (0..STRIP_COLUMNS).step_by(S::LANES) {
            simd.store(simd.codes(&words, column), &mut zeros.0[column..]);
        }
        Self { zeros, scales: packed.scale_strip(simd, group, strip), rounding: packed.rounding() }
    }

    /// The weights of one row in the columns from `column` on, given the row's words.
    #[inline(always)]
    pub(crate) fn weights<S: Simd>(&self, simd: S, words: &[i32; STRIP_WORDS], column: usize) -> S::F {
        let difference = simd.sub(simd.codes(words, column), simd.load(&self.zeros.0[column..]));
        simd.round(simd.mul(difference, simd.load(&self.scales.0[column..])), self.rounding)
    }

    /// The weights of one row, all columns.
    #[inline(always)]
    pub(crate) fn row<S: Simd>(&self, simd: S, words: &[i32; STRIP_WORDS]) -> Aligned<STRIP_COLUMNS> {
        let mut out = Aligned([0.0; STRIP_COLUMNS]);
        for column in (0..STRIP_COLUMNS).step_by(S::LANES) {
            simd.store(self.weights(simd, words, column), &mut out.0[column..]);
        }
        out
    }
}

/// For each word and nibble of a strip, the weights that the sixteen codes stand for.
#[derive(Debug)]
pub(crate) struct Tables {
    of: Box<[[Table; WORD_COLUMNS]; STRIP_WORDS]>,
    built: Option<(usize, Strip)>,
}

impl Tables {
    /// Tables of nothing.
    pub(crate) fn new() -> Self {
        Self { of: Box::new([[Table([0.0; 16]); WORD_COLUMNS]; STRIP_WORDS]), built: None }
    }

    /// Lets the next [`Tables::build`] build, whatever these are.
    pub(crate) fn forget(&mut self) {
        self.built = None;
    }

    /// The tables of one word, in the order of its nibbles, as [`Arithmetic::join`] leaves them.
    #[inline(always)]
    pub(crate) fn word(&self, word: usize) -> &[Table; WORD_COLUMNS] {
        &self.of[word]
    }

    /// Makes these the tables of `group` in `strip` that [`Arithmetic::look_up`] takes, if they are not; always of the same packed
    /// weight and for the same arithmetic.
    #[inline(always)]
    pub(crate) fn build<A: Arithmetic>(
        &mut self,
        arithmetic: A,
        packed: &Packed<'_>,
        group: usize,
        strip: Strip,
    ) {
        let simd = arithmetic.simd();
        if self.built == Some((group, strip)) {
            return;
        }
        self.built = Some((group, strip));
        let Columns { zeros, scales, rounding } = Columns::new(simd, packed, group, strip);
        for (word, tables) in self.of.iter_mut().enumerate() {
            for (nibble, table) in tables.iter_mut().enumerate() {
                let column = word * WORD_COLUMNS + NIBBLE_COLUMN[nibble];
                let zero = simd.splat(zeros.0[column]);
                let scale = simd.splat(scales.0[column]);
                for at in (0..16).step_by(A::S::LANES) {
                    let difference = simd.sub(simd.load(&CODES.0[at..]), zero);
                    simd.store(simd.round(simd.mul(difference, scale), rounding), &mut table.0[at..]);
                }
            }
            arithmetic.join(tables);
        }
    }
}

/// Words of a strip of a weight that is [`Major::Row`](super::packed::Major), turned so that lanes are rows: for each word its
/// vectors of rows, at most `VECTORS`.
#[derive(Debug)]
pub(crate) struct Turned<const VECTORS: usize>(Box<[TurnedWord<VECTORS>; STRIP_WORDS]>);

/// One word's vectors. The pad keeps words from sharing a set of the cache.
#[derive(Debug, Clone, Copy)]
struct TurnedWord<const VECTORS: usize> {
    vectors: [Lanes; VECTORS],
    _pad: Lanes,
}

impl<const VECTORS: usize> Turned<VECTORS> {
    /// Words of nothing.
    pub(crate) fn new() -> Self {
        let word = TurnedWord { vectors: [Lanes([0; 16]); VECTORS], _pad: Lanes([0; 16]) };
        Self(Box::new([word; STRIP_WORDS]))
    }

    /// One word's vectors.
    #[inline(always)]
    pub(crate) fn word(&self, word: usize) -> &[Lanes; VECTORS] {
        &self.0[word].vectors
    }

    /// Turns all rows of `segment` that fill vectors, into the vectors from `at` on; returns how many.
    #[inline(always)]
    pub(crate) fn turn<S: Simd>(
        &mut self,
        simd: S,
        packed: &Packed<'_>,
        segment: Segment,
        strip: Strip,
        at: usize,
    ) -> usize {
        // Whoever sets `VECTORS` counts on it, and on all rows being turned.
        const { assert!(S::LANES >= 8, "a vector has eight rows at least") };
        let count = (segment.count / S::LANES).min(VECTORS - at);
        let mut words = [simd.zero_words(); STRIP_WORDS];
        for vector in 0..count {
            transpose(simd, packed, segment.first + vector * S::LANES, strip, &mut words);
            for (words, to) in words.iter().zip(self.0.iter_mut()) {
                simd.store_words(*words, &mut to.vectors[at + vector]);
            }
        }
        count
    }
}

/// Turns `LANES` rows of a strip, from `row` on, of a weight that is [`Major::Row`](super::packed::Major), into one vector for
/// each word.
#[inline(always)]
pub(crate) fn transpose<S: Simd>(
    simd: S,
    packed: &Packed<'_>,
    row: usize,
    strip: Strip,
    out: &mut [S::U; STRIP_WORDS],
) {
    if strip.words == STRIP_WORDS {
        simd.transpose(packed.codes(row, strip.word), packed.row_words(), out);
    } else {
        let mut padded = [0; 16 * STRIP_WORDS];
        for (lane, padded) in padded.chunks_exact_mut(STRIP_WORDS).take(S::LANES).enumerate() {
            padded.copy_from_slice(&packed.code_strip(row + lane, strip));
        }
        simd.transpose(&padded, STRIP_WORDS, out);
    }
}
