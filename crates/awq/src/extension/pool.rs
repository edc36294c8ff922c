//! libtorch's intra-op thread pool, as the kernels' pool: there is no second pool beside it.

use super::ffi;
use crate::kernel::ParallelFor;
use std::any::Any;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Mutex, PoisonError};

/// The pool whose size `tch::set_num_threads` sets.
pub(super) struct TorchPool;

/// What the threads of one parallel loop share.
struct Loop<'a> {
    body: &'a (dyn Fn(usize) + Sync),
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl ParallelFor for TorchPool {
    fn run(&self, tasks: usize, body: &(dyn Fn(usize) + Sync)) {
        let shared = Loop { body, panic: Mutex::new(None) };
        let end = i64::try_from(tasks).unwrap_or(i64::MAX);
        // SAFETY: `run_range` is only called with this context, during this call, which returns after all threads have.
        let code = unsafe {
            ffi::torch_parallel_for(0, end, 1, run_range, (&raw const shared).cast_mut().cast::<c_void>())
        };
        let panic = shared.panic.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
        assert!(code == 0, "libtorch's thread pool failed");
    }
}

/// Runs tasks `begin..end`; a panic is kept for the caller's thread, since none may cross into C++.
extern "C" fn run_range(begin: i64, end: i64, context: *mut c_void) {
    // SAFETY: `context` is the `Loop` of the `run` that is waiting for this function.
    let shared = unsafe { &*context.cast_const().cast::<Loop<'_>>() };
    let tasks = usize::try_from(begin).unwrap_or(0)..usize::try_from(end).unwrap_or(0);
    let outcome = catch_unwind(AssertUnwindSafe(|| tasks.for_each(shared.body)));
    if let Err(payload) = outcome {
        *shared.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(payload);
    }
}
