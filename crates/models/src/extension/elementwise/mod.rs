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

/// Tasks `begin..end` of a call; 0, or 1 after a panic.
#[unsafe(no_mangle)]
extern "C" fn qtuner_models_norm(call: *const NormCall, begin: i64, end: i64) -> c_int {
    // SAFETY: C++ passes a pointer to a call on its stack.
    let call = unsafe { &*call };
    fenced(begin, end, |task| {
        let rows = piece(call.rows, call.chunk, task);
        // SAFETY: C++ holds all memory of the call until it returns, of this dtype, and each task writes other rows.
        unsafe {
            match call.dtype {
                BFLOAT16 => call.run::<bf16>(rows),
                _ => call.run::<f32>(rows),
            }
        }
    })
}

/// Tasks `begin..end` of a call; 0, or 1 after a panic.
#[unsafe(no_mangle)]
extern "C" fn qtuner_models_gate(call: *const GateCall, begin: i64, end: i64) -> c_int {
    // SAFETY: C++ passes a pointer to a call on its stack.
    let call = unsafe { &*call };
    fenced(begin, end, |task| {
        let elements = piece(call.elements, call.chunk, task);
        // SAFETY: as above, for elements.
        unsafe {
            match call.dtype {
                BFLOAT16 => call.run::<bf16>(elements),
                _ => call.run::<f32>(elements),
            }
        }
    })
}

/// Tasks `begin..end` of a call; 0, or 1 after a panic.
#[unsafe(no_mangle)]
extern "C" fn qtuner_models_rotation(call: *const RotationCall, begin: i64, end: i64) -> c_int {
    // SAFETY: C++ passes a pointer to a call on its stack.
    let call = unsafe { &*call };
    fenced(begin, end, |task| {
        let rows = piece(call.rows, call.chunk, task);
        // SAFETY: as above.
        unsafe {
            match call.dtype {
                BFLOAT16 => call.run::<bf16>(rows),
                _ => call.run::<f32>(rows),
            }
        }
    })
}

/// Tasks `begin..end` of a call; 0, or 1 after a panic.
#[unsafe(no_mangle)]
extern "C" fn qtuner_models_losses(call: *const LossesCall, begin: i64, end: i64) -> c_int {
    // SAFETY: C++ passes a pointer to a call on its stack.
    let call = unsafe { &*call };
    fenced(begin, end, |task| {
        let rows = piece(call.rows, call.chunk, task);
        // SAFETY: as above.
        unsafe {
            match call.dtype {
                BFLOAT16 => call.run::<bf16>(rows),
                _ => call.run::<f32>(rows),
            }
        }
    })
}

/// No panic crosses into C++.
fn fenced(begin: i64, end: i64, task: impl Fn(usize)) -> c_int {
    c_int::from(catch_unwind(AssertUnwindSafe(|| (size(begin)..size(end)).for_each(task))).is_err())
}

/// What the task with this number does.
fn piece(count: i64, chunk: i64, task: usize) -> Range<usize> {
    let (count, chunk) = (size(count), size(chunk));
    task * chunk..count.min((task + 1) * chunk)
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
