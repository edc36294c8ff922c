//! Ctrl-C: once to end after the step or the batch of an evaluation, twice to end at once.

use crate::failure::Failure;
use std::sync::atomic::{AtomicBool, Ordering};

static STOP: AtomicBool = AtomicBool::new(false);

/// What shells take for "ended by Ctrl-C".
const ENDED_BY_CTRL_C: i32 = 130;

/// The flag that Ctrl-C, or being asked to terminate, sets.
pub(super) fn flag() -> Result<&'static AtomicBool, Failure> {
    ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::Relaxed) {
            // Checkpoints that are finished are whole, whenever the process ends.
            std::process::exit(ENDED_BY_CTRL_C);
        }
        eprintln!("\nstopping after this step, or this batch of an evaluation; once more to stop at once");
    })?;
    Ok(&STOP)
}
