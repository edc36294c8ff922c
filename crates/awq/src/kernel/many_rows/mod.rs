//! Products with many activation rows, as in training: tiles of the weight become f32 panels in cache, and a
//! register-tiled multiplication runs over them.
//!
//! `C [M, N] = A [M, K] * B [K, N]`, where `B` is `W [I, O]` in the forward pass and `W^T [O, I]` for the gradient.
//! A task owns `ROWS x COLUMNS` of `C`; the sums over `STEPS` steps along `K` are made in registers, then
//! added. A step is one term, or two where bf16 is multiplied in pairs.

mod nibbles;
mod panels;
mod workspace;

#[cfg(test)]
pub(crate) use self::panels::transposed_panel;
use self::panels::{Fill, Order, Weight};
use self::workspace::Workspace;
use super::element::Element;
use super::isa::Isa;
use super::output::Tiles;
use super::packed::{Packed, STRIP_COLUMNS};
use super::panel::{PANEL, Sweep};
use super::parallel::ParallelFor;
use super::simd::{Aligned, Arithmetic, Operation, PackLeft, Simd, Single, dispatch};

/// Rows of `C` in a task.
const ROWS: usize = 256;
/// Columns of `C` in a task.
const COLUMNS: usize = 256;
/// Steps that are summed in registers.
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
    let tiles = Tiles::new(c, weight.columns(), ROWS, COLUMNS);
    pool.run(tiles.len(), &|task| {
        let (down, across) = tiles.position(task);
        let c = tiles.take(task);
        dispatch(isa, Task { a, weight, bias, row: down * ROWS, column: across * COLUMNS, c });
    });
}

struct Task<'a, T> {
    a: &'a [T],
    weight: &'a Weight<'a>,
    bias: Option<&'a [f32]>,
    row: usize,
    column: usize,
    c: Vec<&'a mut [T]>,
}

impl<T: Element> Operation for Task<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let a = self.a;
        if let (Some(a), Some(pairs)) = (T::as_bf16(a), simd.pairs()) {
            self.multiply(a, pairs);
        } else {
            self.multiply(a, Single(simd));
        }
    }
}

impl<T: Element> Task<'_, T> {
    #[inline(always)]
    fn multiply<L, A: Arithmetic + PackLeft<L>>(self, a: &[L], arithmetic: A) {
        let rows = self.c.len();
        let columns = self.c.first().map_or(0, |row| row.len());
        let depth = self.weight.depth();
        let mut workspace = Workspace::take(rows);
        for first in (0..depth).step_by(STEPS * A::TERMS) {
            let count = (STEPS * A::TERMS).min(depth - first);
            for (row, to) in workspace.a.iter_mut().enumerate().take(rows) {
                arithmetic.pack_left(&a[(self.row + row) * depth + first..][..count], &mut to.0);
            }
            for column in (0..columns).step_by(UNPACKED) {
                let width = UNPACKED.min(columns - column);
                let ahead = self.weight.ahead(arithmetic, first, column, columns);
                arithmetic.vectorize(Fill {
                    weight: self.weight,
                    first,
                    count,
                    column: self.column + column,
                    width,
                    ahead,
                    tables: &mut workspace.tables,
                    panels: &mut workspace.panels,
                });
                for (index, panel) in workspace.panels.chunks_exact(STEPS).enumerate() {
                    if index * PANEL < width {
                        arithmetic.vectorize(Sweep {
                            a: &workspace.a[..rows],
                            panel: &panel[..count.div_ceil(A::TERMS)],
                            column: column + index * PANEL,
                            c: &mut workspace.c[..rows],
                        });
                    }
                }
            }
        }
        for (row, sums) in self.c.into_iter().zip(&mut workspace.c) {
            for (index, sums) in sums.0.as_chunks_mut().0.iter_mut().enumerate() {
                let column = self.column + index * STRIP_COLUMNS;
                if self.weight.order_at(arithmetic, column) == Order::Nibbles {
                    *sums = arithmetic.simd().by_column(&Aligned(*sums)).0;
                }
            }
            if let Some(bias) = self.bias {
                for (sum, bias) in sums.0.iter_mut().zip(&bias[self.column..][..columns]) {
                    *sum += bias;
                }
            }
            T::narrow(arithmetic.simd(), &sums.0[..columns], row);
        }
        workspace.put_back();
    }
}
