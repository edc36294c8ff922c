//! A block of `C` step by step, in tiles of rows whose sums stay in registers.

use super::panels::Fill;
use super::workspace::Workspace;
use super::{Block, STEPS, UNPACKED};
use crate::kernel::panel::{PANEL, Sweep};
use crate::kernel::simd::{Aligned, Arithmetic, PackLeft};

/// Rows and columns of a block.
pub(super) const SIZE: [usize; 2] = [256, 256];

/// The block's sums, in `workspace.c`.
#[inline(always)]
pub(super) fn multiply<L, A: Arithmetic + PackLeft<L>>(
    block: Block<'_>,
    a: &[L],
    arithmetic: A,
    workspace: &mut Workspace,
) {
    let Block { weight, row, rows, columns, .. } = block;
    let (depth, height) = (weight.depth(), block.height());
    let Workspace { steps: left, panels, c, tables, .. } = workspace;
    Workspace::grow(left, rows, Aligned([0.0; STEPS]));
    c.clear();
    Workspace::grow(c, columns.div_ceil(UNPACKED) * height, Aligned([0.0; UNPACKED]));
    for first in (0..depth).step_by(STEPS * A::TERMS) {
        let count = (STEPS * A::TERMS).min(depth - first);
        for (index, to) in left.iter_mut().enumerate().take(rows) {
            arithmetic.pack_left(&a[(row + index) * depth + first..][..count], &mut to.0);
        }
        for (strip, column) in (0..columns).step_by(UNPACKED).enumerate() {
            arithmetic.vectorize(Fill { block, first, count, column, tables, panels });
            let panels = panels.chunks_exact(STEPS).take((columns - column).div_ceil(PANEL));
            for (index, panel) in panels.enumerate() {
                arithmetic.vectorize(Sweep {
                    a: &left[..rows],
                    panel: &panel[..count.div_ceil(A::TERMS)],
                    column: index * PANEL,
                    c: &mut c[strip * height..][..rows],
                });
            }
        }
    }
}
