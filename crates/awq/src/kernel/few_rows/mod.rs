//! Products with a handful of activation rows, as in decoding: the packed words are the traffic, so they are read
//! once, and no weight is ever written to memory.
//!
//! Forward, columns are in the lanes, and a weight is computed where it is used. For the gradient, which sums over
//! columns, words are turned so that rows are in the lanes; a weight is a shift and a look-up away from its word.

mod forward;
mod grad_input;
mod run;
mod tiling;
mod workspace;

pub(crate) use forward::forward;
pub(crate) use grad_input::grad_input;

use super::element::Element;
use super::isa::Isa;

/// The most rows of a product.
const FORWARD_ROWS: usize = 32;

/// The most rows of a gradient.
pub(crate) const GRADIENT_ROWS: usize = 8;

/// Up to so many rows, a product is faster this way: each weight is computed once for all of them, which costs most where
/// it is rounded, and where vectors are short.
pub(crate) fn most_rows<T: Element>(isa: Isa) -> usize {
    if T::IS_BF16 || isa == Isa::Avx512 { FORWARD_ROWS } else { FORWARD_ROWS / 2 }
}
