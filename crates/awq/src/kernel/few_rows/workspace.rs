//! What a task of the gradient needs beside its operands: 34 KiB a thread, kept from task to task.

use std::cell::Cell;

use super::GRADIENT_ROWS;
use crate::kernel::packed::STRIP_COLUMNS;
use crate::kernel::simd::Aligned;
use crate::kernel::weights::{Tables, Turned};

/// Weight rows of a task of the gradient, and columns of a strip: they share buffers.
pub(super) const BLOCK: usize = STRIP_COLUMNS;

/// Buffers of one task.
pub(super) struct Workspace {
    /// Of the strip and the group at hand.
    pub(super) tables: Tables,
    /// The words at hand.
    pub(super) turned: Turned<{ BLOCK / 8 }>,
    /// Activations: as many of each row of the pass as the words at hand meet.
    pub(super) left: [Aligned<BLOCK>; GRADIENT_ROWS],
    /// Sums of the gradient for each row of the pass.
    pub(super) sums: [Aligned<STRIP_COLUMNS>; GRADIENT_ROWS],
}

thread_local! {
    static KEPT: Cell<Option<Box<Workspace>>> = const { Cell::new(None) };
}

impl Workspace {
    /// This thread's.
    pub(super) fn take() -> Box<Self> {
        let mut workspace = KEPT.take().unwrap_or_else(|| {
            Box::new(Self {
                tables: Tables::new(),
                turned: Turned::new(),
                left: [Aligned([0.0; BLOCK]); GRADIENT_ROWS],
                sums: [Aligned([0.0; STRIP_COLUMNS]); GRADIENT_ROWS],
            })
        });
        workspace.tables.forget();
        workspace
    }

    /// Sums of zero for a pass over so many rows.
    pub(super) fn clear(&mut self, rows: usize) {
        self.sums[..rows].fill(Aligned([0.0; STRIP_COLUMNS]));
    }

    /// Keeps it for the thread's next task.
    pub(super) fn put_back(self: Box<Self>) {
        KEPT.set(Some(self));
    }
}
