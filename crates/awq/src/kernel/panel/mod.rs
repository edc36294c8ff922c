//! Panels: some columns of some weight rows, unpacked, row after row, to be multiplied by tiles of activations.

mod sweep;
mod unpack;

pub(crate) use self::sweep::Sweep;
pub(crate) use self::unpack::{PANELS, Unpack};

/// Columns in a panel.
pub(crate) const PANEL: usize = 32;
