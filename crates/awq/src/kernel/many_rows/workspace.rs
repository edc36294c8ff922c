//! What a task needs beside its operands: at most 700 KiB a thread, kept from task to task.

use std::cell::Cell;

use super::{COLUMNS, DEPTH, STEPS, UNPACKED};
use crate::kernel::panel::PANEL;
use crate::kernel::simd::Aligned;
use crate::kernel::weights::Tables;

/// Buffers of one task.
pub(super) struct Workspace {
    /// Rows of `A`, so many steps of each.
    pub(super) a: Vec<Aligned<STEPS>>,
    /// `UNPACKED / PANEL` panels of `STEPS` rows.
    pub(super) panels: Vec<Aligned<PANEL>>,
    /// Rows of sums, zero at first.
    pub(super) c: Vec<Aligned<COLUMNS>>,
    /// Tables of the strips that make one depth.
    pub(super) tables: [Tables; DEPTH / UNPACKED],
}

thread_local! {
    static KEPT: Cell<Option<Box<Workspace>>> = const { Cell::new(None) };
}

impl Workspace {
    /// This thread's, for a task of so many rows.
    pub(super) fn take(rows: usize) -> Box<Self> {
        let mut workspace = KEPT.take().unwrap_or_else(|| {
            Box::new(Self {
                a: Vec::new(),
                panels: vec![Aligned([0.0; PANEL]); STEPS * UNPACKED / PANEL],
                c: Vec::new(),
                tables: std::array::from_fn(|_| Tables::new()),
            })
        });
        if workspace.a.len() < rows {
            workspace.a.resize(rows, Aligned([0.0; STEPS]));
        }
        workspace.c.clear();
        workspace.c.resize(rows, Aligned([0.0; COLUMNS]));
        workspace.tables.iter_mut().for_each(Tables::forget);
        workspace
    }

    /// Keeps it for the thread's next task.
    pub(super) fn put_back(self: Box<Self>) {
        KEPT.set(Some(self));
    }
}
