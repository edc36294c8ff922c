//! The packed weight of one `WQLinear_GEMM`, borrowed: what every kernel reads.
//!
//! `qweight [I, O/8]`, `qzeros [I/g, O/8]`, `scales [I/g, O]`, all row-major but for a `qweight` that is [`Major::Column`].
//! Nibble `l` of a word holds column `NIBBLE_COLUMN[l]` of its eight. `W[i, o] = round((q - z) * s)`: the product is exact
//! in f32 and is rounded once to the scales' dtype.

use std::fmt;
use std::ops::Range;

use half::{bf16, f16};

use super::element::Element;
use super::simd::{Aligned, Simd};

/// Columns in a packed word.
pub(crate) const WORD_COLUMNS: usize = 8;

/// Words that kernels handle side by side: a cache line of a packed row.
pub(crate) const STRIP_WORDS: usize = 16;

/// Columns in as many words.
pub(crate) const STRIP_COLUMNS: usize = STRIP_WORDS * WORD_COLUMNS;

/// The column, among a word's eight, that each nibble holds, the lowest nibble first.
pub(crate) const NIBBLE_COLUMN: [usize; WORD_COLUMNS] = [0, 2, 4, 6, 1, 3, 5, 7];

/// The shift, in bits, that brings each of a word's eight columns to the lowest nibble.
pub(crate) const COLUMN_SHIFT: [u32; WORD_COLUMNS] = [0, 16, 4, 20, 8, 24, 12, 28];

/// Bytes of a cache line.
const LINE: usize = 64;

/// Lines of memory so many bytes apart share a set of a first-level cache, as it is on x86.
const WAY: usize = 4096;

/// Lines that a set holds, roughly: 8 or 12, and 16 to be found in two runs.
const WAYS: usize = 16;

/// Scales below this have products far from the end of f32.
const LARGE: f32 = 1e30;

/// Scales in the dtype of the file; weights are rounded to the same.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Scales<'a> {
    /// Half precision, what AutoAWQ writes.
    F16(&'a [f16]),
    /// `bfloat16`.
    Bf16(&'a [bf16]),
    /// Single precision.
    F32(&'a [f32]),
}

/// Which words of `qweight` lie side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Major {
    /// Those of a row, as AutoAWQ writes them.
    Row,
    /// Those of a column of words: the rows of one word, which lanes can look up in tables of their columns. Groups are of
    /// whole blocks of [`BLOCK_ROWS`].
    Column,
}

/// Rows that kernels for [`Major::Column`] read together.
pub(crate) const BLOCK_ROWS: usize = 32;

/// The type that a weight is rounded to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rounding {
    /// To half precision.
    F16,
    /// To bfloat16.
    Bf16,
    /// Not at all: the f32 product is the weight.
    F32,
}

impl Scales<'_> {
    /// How many scales there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::F16(scales) => scales.len(),
            Self::Bf16(scales) => scales.len(),
            Self::F32(scales) => scales.len(),
        }
    }

    /// The rounding that goes with the dtype.
    pub(crate) fn rounding(&self) -> Rounding {
        match self {
            Self::F16(_) => Rounding::F16,
            Self::Bf16(_) => Rounding::Bf16,
            Self::F32(_) => Rounding::F32,
        }
    }
}

/// The first elements as f32, and zeros; a loop of known length where all are there.
#[inline(always)]
fn widened<T: Element, S: Simd>(simd: S, from: &[T], count: usize) -> Aligned<STRIP_COLUMNS> {
    let mut out = Aligned([0.0; STRIP_COLUMNS]);
    match from.first_chunk::<STRIP_COLUMNS>() {
        Some(full) if count == STRIP_COLUMNS => T::widen(simd, full, &mut out.0),
        _ => T::widen(simd, &from[..count], &mut out.0[..count]),
    }
    out
}

/// Asks for a strip of columns.
#[inline(always)]
fn prefetch_columns<T, S: Simd>(simd: S, from: &[T], start: usize) {
    for column in (0..STRIP_COLUMNS).step_by(LINE / size_of::<T>()) {
        simd.prefetch(from, start + column);
    }
}

/// A packed weight whose lengths agree with each other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packed<'a> {
    qweight: &'a [i32],
    major: Major,
    qzeros: &'a [i32],
    scales: Scales<'a>,
    in_features: usize,
    out_features: usize,
    group_size: usize,
}

/// Why parts do not make a packed weight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PackedError {
    /// `out_features` is not a multiple of eight.
    OutFeatures(usize),
    /// `group_size` is zero or does not divide `in_features`.
    GroupSize {
        /// The group size found.
        group_size: usize,
        /// The features it should divide.
        in_features: usize,
    },
    /// `group_size` is not of whole blocks of rows, which [`Major::Column`] asks for.
    Blocks(usize),
    /// A part has the wrong number of elements.
    Length {
        /// Which part.
        part: &'static str,
        /// How many elements it has.
        found: usize,
        /// How many the shape asks for.
        expected: usize,
    },
}

impl fmt::Display for PackedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutFeatures(found) => write!(f, "out_features {found} is not a multiple of {WORD_COLUMNS}"),
            Self::GroupSize { group_size, in_features } => {
                write!(f, "group_size {group_size} does not divide in_features {in_features}")
            }
            Self::Blocks(group_size) => {
                write!(
                    f,
                    "group_size {group_size} is not a multiple of {BLOCK_ROWS}, and the weight is column-major"
                )
            }
            Self::Length { part, found, expected } => {
                write!(f, "{part} has {found} elements where the shape asks for {expected}")
            }
        }
    }
}

impl std::error::Error for PackedError {}

impl<'a> Packed<'a> {
    /// Checks that the parts fit together.
    pub(crate) fn new(
        (qweight, major): (&'a [i32], Major),
        qzeros: &'a [i32],
        scales: Scales<'a>,
        in_features: usize,
        out_features: usize,
        group_size: usize,
    ) -> Result<Self, PackedError> {
        if !out_features.is_multiple_of(WORD_COLUMNS) {
            return Err(PackedError::OutFeatures(out_features));
        }
        if group_size == 0 || !in_features.is_multiple_of(group_size) {
            return Err(PackedError::GroupSize { group_size, in_features });
        }
        if major == Major::Column && !group_size.is_multiple_of(BLOCK_ROWS) {
            return Err(PackedError::Blocks(group_size));
        }
        let words = out_features / WORD_COLUMNS;
        let groups = in_features / group_size;
        let lengths = [
            ("qweight", qweight.len(), in_features.saturating_mul(words)),
            ("qzeros", qzeros.len(), groups.saturating_mul(words)),
            ("scales", scales.len(), groups.saturating_mul(out_features)),
        ];
        for (part, found, expected) in lengths {
            if found != expected {
                return Err(PackedError::Length { part, found, expected });
            }
        }
        Ok(Self { qweight, major, qzeros, scales, in_features, out_features, group_size })
    }

    /// The same weight, with its words in another order.
    #[cfg(test)]
    pub(crate) fn with_words(&self, words: (&'a [i32], Major)) -> Result<Self, PackedError> {
        let Self { qzeros, scales, in_features, out_features, group_size, .. } = *self;
        Self::new(words, qzeros, scales, in_features, out_features, group_size)
    }

    /// `I`.
    pub(crate) fn in_features(&self) -> usize {
        self.in_features
    }

    /// `O`.
    pub(crate) fn out_features(&self) -> usize {
        self.out_features
    }

    /// `g`: rows that share a scale.
    pub(crate) fn group_size(&self) -> usize {
        self.group_size
    }

    /// The rounding of a weight.
    pub(crate) fn rounding(&self) -> Rounding {
        self.scales.rounding()
    }

    /// Words in a row: `O/8`.
    pub(crate) fn row_words(&self) -> usize {
        self.out_features / WORD_COLUMNS
    }

    /// Which words lie side by side.
    #[inline(always)]
    pub(crate) fn major(&self) -> Major {
        self.major
    }

    /// All codes, in the order of memory.
    pub(crate) fn words(&self) -> &'a [i32] {
        self.qweight
    }

    /// The place in memory of a word.
    #[inline(always)]
    pub(crate) fn place(&self, row: usize, word: usize) -> usize {
        match self.major {
            Major::Row => row * self.row_words() + word,
            Major::Column => word * self.in_features + row,
        }
    }

    /// The rows of one word, of a weight that is [`Major::Column`].
    #[inline(always)]
    pub(crate) fn column(&self, word: usize, rows: Range<usize>) -> &'a [i32] {
        debug_assert_eq!(self.major, Major::Column, "columns lie side by side");
        &self.qweight[word * self.in_features..][..self.in_features][rows]
    }

    /// The codes of some rows, of a weight that is [`Major::Row`].
    #[inline(always)]
    pub(crate) fn rows(&self, segment: Segment) -> &'a [i32] {
        debug_assert_eq!(self.major, Major::Row, "rows lie side by side");
        &self.qweight[segment.first * self.row_words()..][..segment.count * self.row_words()]
    }

    /// The codes from row `row`, word `word` on, to the end of the weight, where it is [`Major::Row`]; rows are `row_words` apart.
    #[inline(always)]
    pub(crate) fn codes(&self, row: usize, word: usize) -> &'a [i32] {
        debug_assert_eq!(self.major, Major::Row, "rows lie side by side");
        &self.qweight[row * self.row_words() + word..]
    }

    /// What [`Packed::codes`] would give, empty beyond the last row: for a look ahead.
    #[inline(always)]
    pub(crate) fn codes_or_none(&self, row: usize, word: usize) -> &'a [i32] {
        self.qweight.get(row * self.row_words() + word..).unwrap_or_default()
    }

    /// A strip of one row, zero beyond its words.
    #[inline(always)]
    pub(crate) fn code_strip(&self, row: usize, strip: Strip) -> [i32; STRIP_WORDS] {
        match self.major {
            Major::Row => strip.pad(self.codes(row, strip.word)),
            Major::Column => {
                let mut out = [0; STRIP_WORDS];
                for (index, out) in out[..strip.words].iter_mut().enumerate() {
                    *out = self.qweight[self.place(row, strip.word + index)];
                }
                out
            }
        }
    }

    /// A strip of one group's zero points, zero beyond its words.
    #[inline(always)]
    pub(crate) fn zero_strip(&self, group: usize, strip: Strip) -> [i32; STRIP_WORDS] {
        strip.pad(&self.qzeros[group * self.row_words() + strip.word..])
    }

    /// The zero points of one group.
    #[inline(always)]
    pub(crate) fn zeros(&self, group: usize) -> &'a [i32] {
        &self.qzeros[group * self.row_words()..][..self.row_words()]
    }

    /// A strip of one group's scales as f32 (exact), zero beyond its columns.
    #[inline(always)]
    pub(crate) fn scale_strip<S: Simd>(&self, simd: S, group: usize, strip: Strip) -> Aligned<STRIP_COLUMNS> {
        let start = group * self.out_features + strip.column();
        match self.scales {
            Scales::F16(scales) => widened(simd, &scales[start..], strip.columns()),
            Scales::Bf16(scales) => widened(simd, &scales[start..], strip.columns()),
            Scales::F32(scales) => widened(simd, &scales[start..], strip.columns()),
        }
    }

    /// Asks for a strip of one group's zero points and scales; there may be no such group.
    #[inline(always)]
    pub(crate) fn prefetch_group<S: Simd>(&self, simd: S, group: usize, strip: Strip) {
        simd.prefetch(self.qzeros, group * self.row_words() + strip.word);
        let start = group * self.out_features + strip.column();
        match self.scales {
            Scales::F16(scales) => prefetch_columns(simd, scales, start),
            Scales::Bf16(scales) => prefetch_columns(simd, scales, start),
            Scales::F32(scales) => prefetch_columns(simd, scales, start),
        }
    }

    /// Whether fifteen times any scale of these groups is finite in the dtype that weights are rounded to.
    #[inline(always)]
    pub(crate) fn weights_are_finite(&self, groups: Range<usize>) -> bool {
        self.scales_are_small(groups.start * self.out_features..groups.end * self.out_features)
    }

    /// The same, in some strips of one group.
    #[inline(always)]
    pub(crate) fn strips_are_finite(&self, group: usize, strips: [usize; 2]) -> bool {
        let [start, end] = strips.map(|strip| (strip * STRIP_COLUMNS).min(self.out_features));
        self.scales_are_small(group * self.out_features + start..group * self.out_features + end)
    }

    #[inline(always)]
    fn scales_are_small(&self, range: Range<usize>) -> bool {
        match self.scales {
            Scales::F16(scales) => f16::largest(&scales[range]) * 15.0 < 65520.0,
            Scales::Bf16(scales) => bf16::largest(&scales[range]) < LARGE,
            Scales::F32(scales) => f32::largest(&scales[range]) < LARGE,
        }
    }

    /// For weights of these groups, the factor of Veltkamp's split that rounds each of them as its dtype does: none in f32,
    /// and none where a weight may be subnormal or infinite.
    #[inline(always)]
    pub(crate) fn split_factor(&self, groups: Range<usize>) -> Option<f32> {
        self.factor(groups.start * self.out_features..groups.end * self.out_features)
    }

    /// The same for a strip of one group.
    #[inline(always)]
    pub(crate) fn split_factor_of_strip(&self, group: usize, strip: Strip) -> Option<f32> {
        let start = group * self.out_features + strip.column();
        self.factor(start..start + strip.columns())
    }

    #[inline(always)]
    fn factor(&self, range: Range<usize>) -> Option<f32> {
        let finite = self.scales_are_small(range.clone());
        // A scale of zero wraps around: it is no subnormal one.
        let (least, normal, factor) = match self.scales {
            Scales::F16(scales) => {
                let least = |least: u16, scale: &f16| least.min((scale.to_bits() & 0x7fff).wrapping_sub(1));
                (scales[range].iter().fold(u16::MAX, least), 0x400, 8193.0)
            }
            Scales::Bf16(scales) => {
                let least = |least: u16, scale: &bf16| least.min((scale.to_bits() & 0x7fff).wrapping_sub(1));
                (scales[range].iter().fold(u16::MAX, least), 0x80, 65537.0)
            }
            Scales::F32(_) => return None,
        };
        (finite && least >= normal - 1).then_some(factor)
    }

    /// The groups of some rows.
    pub(crate) fn groups(&self, rows: Range<usize>) -> Range<usize> {
        rows.start / self.group_size..rows.end.div_ceil(self.group_size)
    }

    /// The strip with number `index`.
    pub(crate) fn strip(&self, index: usize) -> Strip {
        let word = index * STRIP_WORDS;
        Strip { word, words: STRIP_WORDS.min(self.row_words().saturating_sub(word)) }
    }

    /// How many strips cover a row.
    pub(crate) fn strips(&self) -> usize {
        self.row_words().div_ceil(STRIP_WORDS)
    }

    /// How many rows make a run, at most `longest`: a strip of them, and one of the next, is to stay in a first-level cache.
    pub(crate) fn run(&self, longest: usize) -> usize {
        if self.major == Major::Column {
            return longest;
        }
        let bytes = self.row_words() * size_of::<i32>();
        // After so many rows, a cache line is for the same set again.
        let sets = WAY >> bytes.trailing_zeros().min(WAY.trailing_zeros());
        (WAYS / 2 * sets).clamp(2, longest)
    }

    /// Cuts `rows` where the group changes, and after `longest` rows.
    pub(crate) fn segments(
        &self,
        rows: Range<usize>,
        longest: usize,
    ) -> impl Iterator<Item = Segment> + use<> {
        let group_size = self.group_size;
        let end =
            move |first: usize| rows.end.min((first / group_size + 1) * group_size).min(first + longest);
        let mut next = rows.start;
        std::iter::from_fn(move || {
            let first = next;
            next = end(first);
            (first < rows.end).then(|| Segment {
                group: first / group_size,
                first,
                count: next - first,
                behind: end(next) - next,
                begins: first == rows.start || first.is_multiple_of(group_size),
                ends: next == rows.end || next.is_multiple_of(group_size),
            })
        })
    }
}

/// Consecutive rows of one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    /// The group.
    pub(crate) group: usize,
    /// The first row.
    pub(crate) first: usize,
    /// How many rows.
    pub(crate) count: usize,
    /// How many the segment behind it has, zero at the end.
    pub(crate) behind: usize,
    /// Whether it is the first of its group, among the rows that were cut.
    pub(crate) begins: bool,
    /// Whether it is the last one.
    pub(crate) ends: bool,
}

/// Consecutive words of a row, as many as a cache line holds, fewer at the end of the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Strip {
    /// The first word.
    pub(crate) word: usize,
    /// How many words, at most [`STRIP_WORDS`].
    pub(crate) words: usize,
}

impl Strip {
    /// The first column.
    #[inline(always)]
    pub(crate) fn column(self) -> usize {
        self.word * WORD_COLUMNS
    }

    /// How many columns.
    #[inline(always)]
    pub(crate) fn columns(self) -> usize {
        self.words * WORD_COLUMNS
    }

    /// The strip to its right, if there is one.
    #[inline(always)]
    pub(crate) fn next(self) -> Self {
        Self { word: self.word + STRIP_WORDS, ..self }
    }

    /// The first words of `from`, zero beyond the strip's.
    #[inline(always)]
    pub(crate) fn pad(self, from: &[i32]) -> [i32; STRIP_WORDS] {
        if self.words == STRIP_WORDS
            && let Some(full) = from.first_chunk()
        {
            return *full;
        }
        let mut out = [0; STRIP_WORDS];
        out[..self.words].copy_from_slice(&from[..self.words]);
        out
    }
}
