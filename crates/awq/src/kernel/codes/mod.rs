//! Products of bf16 activations with the codes themselves, where the CPU multiplies pairs of bf16: up to a few dozen
//! rows, bound by reading the packed words, then by the arithmetic.
//!
//! A difference `q - z` is exact in bf16, so weights are never rounded: `y += s * sum (q - z) * x`, with a sum in f32
//! for each run of rows of one group, and the scale applied to it in f32. Columns stay in the lanes, in the order of
//! the nibbles, until the last sum; nothing is turned and no tables are made.
//!
//! Activations or scales so large that these sums or AutoAWQ's rounded weights could overflow go the other way, as
//! does an odd group size, whose rows do not pair up.

mod direct;
mod panel;
mod piece;
mod stepwise;
mod tiled;
mod zeros;

use std::sync::atomic::{AtomicBool, Ordering};

use half::bf16;

use self::piece::PieceTask;
use super::element::{Element, are_ordinary};
use super::isa::Isa;
use super::packed::Packed;
use super::parallel::ParallelFor;
use super::parts::{Split, in_parts};
use super::simd::{Operation, Simd, dispatch};

/// Whether the product was made; if not, `y` holds nothing of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was.
    Made,
    /// The operands are not such as this way takes.
    NotThisWay,
}

/// The most rows for which this way is the fastest.
pub(crate) const MOST_ROWS: usize = 32;

/// `y [M, O] = x [M, I] * W [I, O] + bias [O]`, all sizes above zero, `M` at most [`MOST_ROWS`].
pub(crate) fn forward<T: Element>(
    x: &[T],
    packed: &Packed<'_>,
    bias: Option<&[f32]>,
    y: &mut [T],
    pool: &dyn ParallelFor,
    isa: Isa,
) -> Outcome {
    let rows = y.len() / packed.out_features();
    let Some(x) = T::as_bf16(x) else { return Outcome::NotThisWay };
    let takes = packed.group_size().is_multiple_of(2) && rows <= MOST_ROWS;
    if !takes || !dispatch(isa, Ordinary(x)) {
        return Outcome::NotThisWay;
    }
    let extraordinary = AtomicBool::new(false);
    let split = Split::new(packed, rows, pool.threads());
    in_parts(packed, &split, bias, y, pool, isa, &|piece, sums| {
        let task = PieceTask { x, packed, piece, next: split.after(piece), rows, sums, finite: true };
        if dispatch(isa, task) == Outcome::NotThisWay {
            extraordinary.store(true, Ordering::Relaxed);
        }
    });
    if extraordinary.into_inner() { Outcome::NotThisWay } else { Outcome::Made }
}

/// Whether the set has pairs, and all activations are small enough for them.
struct Ordinary<'a>(&'a [bf16]);

impl Operation for Ordinary<'_> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> bool {
        simd.pairs().is_some() && are_ordinary(self.0)
    }
}
