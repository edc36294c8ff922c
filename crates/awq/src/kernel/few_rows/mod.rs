//! Products with a handful of activation rows, as in decoding: the packed words are the traffic, so they are read
//! once, and no weight is ever written to memory.
//!
//! Words are turned so that lanes are rows of the weight; a weight is a shift and a look-up away from its word.
//! While one block of words is multiplied, the next is fetched, a few cache lines at a time.

mod block;
mod forward;
mod grad_input;
mod workspace;

pub(crate) use forward::forward;
pub(crate) use grad_input::grad_input;

/// The most rows of activations in one pass over the packed words.
const MOST_ROWS: usize = 8;
