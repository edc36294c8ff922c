//! Ctrl-C: once to end after the step or the batch of an evaluation, twice to end at once.

use crate::failure::Failure;
use crate::output;
use std::sync::atomic::{AtomicBool, Ordering};

static STOP: AtomicBool = AtomicBool::new(false);

/// What shells take for "ended by Ctrl-C".
const ENDED_BY_CTRL_C: i32 = 130;

#[allow(
    unsafe_code,
    reason = "the standard library cannot end a process without running what is registered for its end"
)]
// SAFETY: POSIX and Windows have this function with this signature; it does not return and has no preconditions.
unsafe extern "C" {
    safe fn _exit(code: std::ffi::c_int) -> !;
}

/// The flag that Ctrl-C, or being asked to terminate, sets.
pub(super) fn flag() -> Result<&'static AtomicBool, Failure> {
    ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::Relaxed) {
            // Checkpoints that are finished are whole, whenever the process ends. `exit` would take libtorch's data away from
            // threads that are computing.
            _exit(ENDED_BY_CTRL_C);
        }
        output::note("\nstopping after this step, or this batch of an evaluation; once more to stop at once");
    })?;
    Ok(&STOP)
}
