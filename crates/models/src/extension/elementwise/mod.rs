//! The numbers of RMS norms, gates, rotations and losses, in f32 or bf16, on any CPU: memory is gone through once or a few times,
//! a row at a time, and all is computed in f32.
//!
//! Loops are plain, for the compiler to vectorize; sums are of sixteen lanes, whatever the CPU has, so that no result depends
//! on it.
#![allow(
    clippy::inline_always,
    reason = "code must be inlined into the function that enables its instructions"
)]

mod element;
mod exp;
mod gate;
mod losses;
mod norm;
mod rotation;

use self::element::Element;
use self::gate::GateCall;
use self::losses::LossesCall;
use self::norm::NormCall;
use self::rotation::RotationCall;
use half::bf16;
use std::ffi::c_int;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// `c10::ScalarType::BFloat16`; any other dtype is f32 here.
const BFLOAT16: i32 = 15;

/// Lanes of a sum.
const LANES: usize = 16;

/// How a call is cut into tasks; mirrored in `elementwise.cpp`.
#[repr(C)]
#[derive(Debug)]
struct Cut {
    /// What there is.
    rows: i64,
    /// What a task has of it, at most.
    chunk: i64,
    /// `c10::ScalarType` of activations.
    dtype: i32,
}

/// A call, as C++ makes it, which owns all memory until it returns.
trait Call {
    fn cut(&self) -> &Cut;

    /// Does it for some rows.
    ///
    /// # Safety
    /// The memory is there, of this dtype, and nothing else refers to these rows of the results, or writes the others.
    unsafe fn run<T: Element>(&self, rows: Range<usize>);
}

#[unsafe(no_mangle)]
extern "C" fn qtuner_models_norm(call: *const NormCall, begin: i64, end: i64) -> c_int {
    run(call, begin, end)
}

#[unsafe(no_mangle)]
extern "C" fn qtuner_models_gate(call: *const GateCall, begin: i64, end: i64) -> c_int {
    run(call, begin, end)
}

#[unsafe(no_mangle)]
extern "C" fn qtuner_models_rotation(call: *const RotationCall, begin: i64, end: i64) -> c_int {
    run(call, begin, end)
}

#[unsafe(no_mangle)]
extern "C" fn qtuner_models_losses(call: *const LossesCall, begin: i64, end: i64) -> c_int {
    run(call, begin, end)
}

/// Tasks `begin..end` of a call; 0, or 1 after a panic, none of which crosses into C++.
fn run(call: *const impl Call, begin: i64, end: i64) -> c_int {
    // SAFETY: C++ passes a pointer to a call on its stack.
    let call = unsafe { &*call };
    let &Cut { rows, chunk, dtype } = call.cut();
    let (count, chunk) = (size(rows), size(chunk));
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        for task in size(begin)..size(end) {
            let rows = task * chunk..count.min((task + 1) * chunk);
            // SAFETY: C++ holds all memory of the call, of this dtype, and gives each task to one thread.
            unsafe {
                match dtype {
                    BFLOAT16 => call.run::<bf16>(rows),
                    _ => call.run::<f32>(rows),
                }
            }
        }
    }));
    c_int::from(outcome.is_err())
}

/// Sizes are never negative.
fn size(size: i64) -> usize {
    usize::try_from(size).unwrap_or(0)
}

/// Work to be compiled for the vectors of the CPU.
trait Job {
    /// Does it; `inline(always)`.
    fn run(self);
}

/// Does it with the widest vectors that the CPU has.
fn vectorize(job: impl Job) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
        fn wide(job: impl Job) {
            job.run();
        }
        #[target_feature(enable = "avx2")]
        fn half_as_wide(job: impl Job) {
            job.run();
        }
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
        {
            // SAFETY: the CPU has the instructions.
            return unsafe { wide(job) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: as above.
            return unsafe { half_as_wide(job) };
        }
    }
    job.run();
}
