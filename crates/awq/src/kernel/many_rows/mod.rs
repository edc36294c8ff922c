//! Products with many activation rows, as in training: tiles of the weight become panels in cache, and a register-tiled
//! multiplication runs over them.
//!
//! `C [M, N] = A [M, K] * B [K, N]`, where `B` is `W [I, O]` in the forward pass and `W^T [O, I]` for the gradient.
//! A task owns a block of `C`; the sums over some steps along `K` are made in registers, then added. A step is one term, or
//! two where bf16 is multiplied in pairs.

mod exact;
mod nibbles;
mod panels;
mod stepwise;
mod tiled;
mod turned;
mod workspace;

use std::sync::atomic::AtomicBool;

#[cfg(test)]
pub(crate) use self::panels::transposed_panel;
use self::panels::{Order, Weight};
use self::workspace::Workspace;
use super::codes::Outcome;
use super::element::Element;
use super::isa::Isa;
use super::output::Tiles;
use super::packed::{Packed, STRIP_COLUMNS};
use super::parallel::ParallelFor;
use super::simd::{Aligned, Arithmetic, Operation, PackLeft, Simd, Single, TILE, dispatch};

/// The most steps that are summed in registers.
const STEPS: usize = 256;
/// Terms in as many steps, at most.
const DEPTH: usize = 2 * STEPS;
/// Columns of `B` that are unpacked together.
const UNPACKED: usize = STRIP_COLUMNS;

/// `y = x * W + bias`; all sizes are positive.
pub(crate) fn forward<T: Element>(
    x: &[T],
    packed: &Packed<'_>,
    bias: Option<&[f32]>,
    y: &mut [T],
    pool: &dyn ParallelFor,
    isa: Isa,
) {
    in_tasks(x, &Weight::Forward(packed), bias, y, pool, isa);
}

/// `grad_x = grad_y * W^T`; all sizes are positive.
pub(crate) fn grad_input<T: Element>(
    grad_y: &[T],
    packed: &Packed<'_>,
    grad_x: &mut [T],
    pool: &dyn ParallelFor,
    isa: Isa,
) {
    in_tasks(grad_y, &Weight::Transposed(packed), None, grad_x, pool, isa);
}

fn in_tasks<T: Element>(
    a: &[T],
    weight: &Weight<'_>,
    bias: Option<&[f32]>,
    c: &mut [T],
    pool: &dyn ParallelFor,
    isa: Isa,
) {
    let exact = isa == Isa::Amx && !T::IS_BF16 && weight.has_two_terms();
    if !exact || in_blocks(a, weight, bias, c, pool, isa, Way::Terms) == Outcome::NotThisWay {
        in_blocks(a, weight, bias, c, pool, isa, Way::Itself);
    }
}

/// What is multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Each number itself.
    Itself,
    /// Its terms of bf16.
    Terms,
}

fn in_blocks<T: Element>(
    a: &[T],
    weight: &Weight<'_>,
    bias: Option<&[f32]>,
    c: &mut [T],
    pool: &dyn ParallelFor,
    isa: Isa,
    way: Way,
) -> Outcome {
    let [height, width] = match (way, isa) {
        (Way::Terms, _) => exact::size(c.len(), weight.columns(), pool.threads()),
        (Way::Itself, Isa::Amx) if T::IS_BF16 => tiled::size(c.len(), weight.columns(), pool.threads()),
        _ => stepwise::SIZE,
    };
    let extraordinary = AtomicBool::new(false);
    let tiles = Tiles::new(c, weight.columns(), height, width);
    pool.run(tiles.len(), &|task| {
        let (down, across) = tiles.position(task);
        let c = tiles.take(task);
        let columns = c.first().map_or(0, |row| row.len());
        let block =
            Block { weight, row: down * height, rows: c.len(), column: across * width, columns, width };
        dispatch(isa, Task { a, block, bias, c, way, extraordinary: &extraordinary });
    });
    if extraordinary.into_inner() { Outcome::NotThisWay } else { Outcome::Made }
}

/// The part of `C` that a task makes.
#[derive(Debug, Clone, Copy)]
struct Block<'a> {
    weight: &'a Weight<'a>,
    row: usize,
    rows: usize,
    column: usize,
    columns: usize,
    /// Columns of a block that is not the last one in its row.
    width: usize,
}

impl Block<'_> {
    /// Rows of a strip's sums: those of the block, and what fills up tiles.
    fn height(&self) -> usize {
        self.rows.next_multiple_of(TILE)
    }

    /// The sums of the block, strip by strip and row by row; returns the terms of a step.
    #[inline(always)]
    fn multiply<L, A: Arithmetic + PackLeft<L>>(
        self,
        a: &[L],
        arithmetic: A,
        workspace: &mut Workspace,
    ) -> usize {
        match arithmetic.amx() {
            Some(amx) => tiled::multiply(self, a, arithmetic, amx, workspace),
            None => stepwise::multiply(self, a, arithmetic, workspace),
        }
        A::TERMS
    }
}

struct Task<'a, T> {
    a: &'a [T],
    block: Block<'a>,
    bias: Option<&'a [f32]>,
    c: Vec<&'a mut [T]>,
    way: Way,
    /// Set where the way does not go.
    extraordinary: &'a AtomicBool,
}

impl<T: Element> Operation for Task<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { a, block, bias, c, way, extraordinary } = self;
        let mut workspace = Workspace::take();
        let terms = match (T::as_bf16(a), simd.pairs()) {
            _ if way == Way::Terms => {
                exact::multiply(block, a, simd, &mut workspace, extraordinary);
                1
            }
            (Some(a), Some(pairs)) => block.multiply(a, pairs, &mut workspace),
            _ => block.multiply(a, Single(simd), &mut workspace),
        };
        for (row, c) in c.into_iter().enumerate() {
            for (strip, c) in c.chunks_mut(STRIP_COLUMNS).enumerate() {
                let column = block.column + strip * STRIP_COLUMNS;
                let mut sums: Aligned<STRIP_COLUMNS> = workspace.c[strip * block.height() + row];
                if block.weight.order_at(terms, column) == Order::Nibbles {
                    sums = simd.by_column(&sums);
                }
                if let Some(bias) = bias {
                    for (sum, bias) in sums.0.iter_mut().zip(&bias[column..]) {
                        *sum += bias;
                    }
                }
                T::narrow(simd, &sums.0[..c.len()], c);
            }
        }
        workspace.put_back();
    }
}
