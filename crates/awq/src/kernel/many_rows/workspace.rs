//! What a task needs beside its operands, kept from task to task: at most 700 KiB a thread, with AMX 1.7 MiB.

use std::cell::Cell;

use super::{DEPTH, STEPS, UNPACKED};
use crate::kernel::packed::STRIP_COLUMNS;
use crate::kernel::panel::PANEL;
use crate::kernel::simd::{Aligned, TILE};
use crate::kernel::weights::Tables;

/// Buffers of one task.
pub(super) struct Workspace {
    /// Rows of `A`, so many steps of each.
    pub(super) steps: Vec<Aligned<STEPS>>,
    /// Or tiles of `A`: those of sixteen rows along the depth, then those of the next sixteen; terms of numbers side by side.
    pub(super) tiles: Vec<Aligned<TILE>>,
    /// `UNPACKED / PANEL` panels of `STEPS` rows.
    pub(super) panels: Vec<Aligned<PANEL>>,
    /// Sums, strip by strip and row by row.
    pub(super) c: Vec<Aligned<STRIP_COLUMNS>>,
    /// Sums of the small products, where those are kept apart.
    pub(super) small: Vec<Aligned<STRIP_COLUMNS>>,
    /// The terms of a panel.
    pub(super) terms: Vec<Aligned<PANEL>>,
    /// Tables of the strips that make one depth.
    pub(super) tables: [Tables; DEPTH / UNPACKED],
}

thread_local! {
    static KEPT: Cell<Option<Box<Workspace>>> = const { Cell::new(None) };
}

impl Workspace {
    /// This thread's.
    pub(super) fn take() -> Box<Self> {
        let mut workspace = KEPT.take().unwrap_or_else(|| {
            Box::new(Self {
                steps: Vec::new(),
                tiles: Vec::new(),
                panels: vec![Aligned([0.0; PANEL]); STEPS * UNPACKED / PANEL],
                c: Vec::new(),
                small: Vec::new(),
                terms: Vec::new(),
                tables: std::array::from_fn(|_| Tables::new()),
            })
        });
        workspace.tables.iter_mut().for_each(Tables::forget);
        workspace
    }

    /// Makes a buffer at least so long; what it gets is filled.
    pub(super) fn grow<T: Copy>(buffer: &mut Vec<T>, len: usize, fill: T) {
        if buffer.len() < len {
            buffer.resize(len, fill);
        }
    }

    /// Keeps it for the thread's next task.
    pub(super) fn put_back(self: Box<Self>) {
        KEPT.set(Some(self));
    }
}
