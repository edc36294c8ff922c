//! Products with few activation rows and a weight that is [`Major::Column`](super::packed::Major): rows are in the lanes.
//!
//! The words of a column of words are rows, side by side, so that a weight is a shift and a look-up away, for the gradient as
//! for the product, and memory is read in its own order.
//!
//! | module | what |
//! |---|---|
//! | `forward` | products |
//! | `columns` | the columns of a strip, whose sums stay in registers |
//! | `grad_input` | gradients of up to eight rows |
//! | `group` | what a group's weights in a strip are made of |

mod columns;
mod forward;
mod grad_input;
mod group;

pub(crate) use self::forward::forward;
pub(crate) use self::grad_input::grad_input;

use super::element::Element;
use super::packed::{BLOCK_ROWS, Packed, STRIP_WORDS, Strip, WORD_COLUMNS};
use super::parts::{Sums, is_small};
use super::simd::Simd;

/// Up to so many rows of activations, a product is faster this way.
pub(crate) const MOST_ROWS: usize = 16;

/// The most rows that share a pass.
const PASS: usize = 8;

/// Words of a row that share a line of scales, in the smaller dtypes.
const SHARED: usize = 4;

/// Of how many words of a row is a task: no sum depends on it.
fn width(packed: &Packed<'_>, threads: usize) -> usize {
    let words = packed.row_words();
    if is_small(packed) { words } else { words.div_ceil(threads).next_multiple_of(SHARED) }
}

/// Cuts words `first ..+ count` into strips.
fn strips(first: usize, count: usize) -> impl Iterator<Item = Strip> {
    let strip = move |start| Strip { word: first + start, words: STRIP_WORDS.min(count - start) };
    (0..count).step_by(STRIP_WORDS).map(strip)
}

/// Cuts rows of activations into passes of nearly equal size: the first row of each, and how many.
fn passes(rows: usize) -> impl Iterator<Item = [usize; 2]> {
    let passes = rows.div_ceil(PASS);
    (0..passes)
        .map(move |pass| [pass, pass + 1].map(|pass| rows * pass / passes))
        .map(|[start, end]| [start, end - start])
}

/// Into how long stretches the rows of the weight are cut, of which the last may be shorter by a little: their activations of a
/// pass lie in a first-level cache beside what else is read, and a lane of a sum has at most 256 terms. A short stretch would be
/// left before reading ahead pays, and needs tables like any other.
fn stretch(inner: usize, rows: usize, lanes: usize) -> usize {
    const CACHE: usize = 20 << 10;
    const TERMS: usize = 256;
    const LEAST: usize = 8 * BLOCK_ROWS;
    let rows = rows.div_ceil(rows.div_ceil(PASS));
    let most = (CACHE / (rows * size_of::<f32>())).clamp(LEAST, TERMS * lanes) / LEAST * LEAST;
    inner.div_ceil(inner.div_ceil(most)).next_multiple_of(LEAST)
}

/// The sums of a row in a strip, and the bias, rounded, to columns `start ..` of `y`.
#[inline(always)]
fn write<T: Element, S: Simd>(
    simd: S,
    mut sums: Sums,
    bias: Option<&[f32]>,
    strip: Strip,
    start: usize,
    y: &mut [T],
) {
    if let Some(bias) = bias {
        for (sum, bias) in sums.0.iter_mut().zip(&bias[strip.column()..]) {
            *sum += bias;
        }
    }
    let columns = strip.columns();
    T::narrow(simd, &sums.0[..columns], &mut y[start * WORD_COLUMNS..][..columns]);
}
