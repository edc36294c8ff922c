//! Numbers as sums of bf16 terms, each some eight bits below the one before, for products that are exact all the same.

use super::{Aligned, Arithmetic, TILE};
use crate::kernel::element::Element;
use crate::kernel::panel::PANEL;

/// Steps, pairs of terms of the depth, for which a panel has room.
pub(crate) const TERM_STEPS: usize = 128;

/// A way for pairs of bf16 terms that makes the terms.
pub(crate) trait PairTerms: Arithmetic {
    /// Writes the terms of a row, 32 numbers to a row of a tile; the terms of each 32 lie in tiles one after the other.
    fn pack_terms<T: Element>(self, from: &[T], to: &mut [Aligned<TILE>]);
    /// Writes both terms of each number of a panel, two rows to a step: the first ones to the first `TERM_STEPS` rows of `to`, the
    /// second ones to those behind.
    fn pair_terms(self, panel: &[Aligned<PANEL>], to: &mut [Aligned<PANEL>]);
}
