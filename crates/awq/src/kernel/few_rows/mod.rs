//! Products with few activation rows, as in decoding: the packed words are the traffic, so they are read once, in the order of
//! memory, and no weight leaves the first-level cache.
//!
//! Forward, columns are in the lanes, and a weight is computed where it is used, or, with more rows than registers hold sums
//! of, a strip of them just before. One or two rows of bf16 meet the codes themselves, in integers, where the set has these.
//! For the gradient, which sums over columns, words are turned so that rows are in the lanes; a weight is a shift and a look-up
//! away from its word.

mod forward;
mod grad_input;
mod integers;
mod panel;
mod run;
mod terms;
mod workspace;

pub(crate) use forward::forward;
pub(crate) use grad_input::grad_input;

use std::marker::PhantomData;

use super::element::Element;
use super::isa::Isa;
use super::packed::Packed;
use super::simd::{Operation, Simd, dispatch};

/// The most rows of a product.
const FORWARD_ROWS: usize = 64;

/// The most rows of a product where more would be multiplied in pairs of bf16.
const UNPAIRED_ROWS: usize = 32;

/// The most rows of a gradient.
const GRADIENT_ROWS: usize = 8;

/// The most rows of a gradient where more would be multiplied in pairs of bf16.
const UNPAIRED_GRADIENT_ROWS: usize = 2;

/// Groups of fewer rows hardly repay their tables.
pub(super) const SHORT_GROUP: usize = 64;

/// Up to so many rows, a product is faster this way: memory is read in its own order, and a strip of unpacked weights stays in
/// a first-level cache.
pub(crate) fn most_rows<T: Element>(isa: Isa) -> usize {
    if dispatch(isa, MultipliesPairs::<T>(PhantomData)) { UNPAIRED_ROWS } else { FORWARD_ROWS }
}

/// Up to so many rows, a gradient is faster this way: as many as registers hold, and fewer where the other way has pairs.
pub(crate) fn most_gradient_rows<T: Element>(packed: &Packed<'_>, isa: Isa) -> usize {
    let most = dispatch(isa, MostRows::<T>(PhantomData));
    if packed.group_size() < SHORT_GROUP { most / 2 } else { most }
}

/// Asks the instruction set.
struct MostRows<T>(PhantomData<T>);

impl<T: Element> Operation for MostRows<T> {
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> usize {
        if MultipliesPairs::<T>(PhantomData).run(simd) { UNPAIRED_GRADIENT_ROWS } else { S::FEW_ROWS }
    }
}

/// Whether the other ways multiply in pairs of bf16.
struct MultipliesPairs<T>(PhantomData<T>);

impl<T: Element> Operation for MultipliesPairs<T> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> bool {
        T::IS_BF16 && simd.pairs().is_some()
    }
}
