//! The numbers of causal attention in bf16 and f32, for CPUs with AVX-512 BF16.
//!
//! Scores are never kept: they are made tile by tile, of 64 queries and 128 keys, in the second-level cache, and again for the
//! gradient. Sums of products are f32, and so are scores and weights until a product takes them; tiles of keys behind all
//! queries are left out. libtorch's own operator does the same with products of MKL, which convert bf16 to f32 where there is
//! no AMX, and on some CPUs use half of the vectors.
//!
//! | module | what |
//! |---|---|
//! | `call` | a call, and how it is cut |
//! | `pack` | blocks of rows as sides of products |
//! | `element` | the two dtypes |
//! | `gemm` | products of tiles, libtorch's |
//! | `scores` | from products to scores: scale, soft cap, mask |
//! | `forward`, `backward` | the rest |
//! | `vector` | sixteen lanes |
//!
//! A result depends on the operands alone, not on threads.

#![allow(
    clippy::inline_always,
    reason = "code must be inlined into the function that enables its instructions"
)]

mod backward;
mod call;
mod element;
mod forward;
mod gemm;
mod pack;
mod scores;
mod vector;

use self::call::{Call, size};
use half::bf16;
use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Whether CPU and libtorch have what it takes.
pub(super) fn is_available() -> bool {
    vector::is_available() && gemm::is_available()
}

/// The tasks are blocks of keys.
#[unsafe(no_mangle)]
extern "C" fn qtuner_models_attention_pack(call: *const Call, begin: i64, end: i64) -> c_int {
    run(call, begin, end, [pack::pack::<f32>, pack::pack::<bf16>])
}

/// The tasks are blocks of queries.
#[unsafe(no_mangle)]
extern "C" fn qtuner_models_attention_forward(call: *const Call, begin: i64, end: i64) -> c_int {
    run(call, begin, end, [forward::forward::<f32>, forward::forward::<bf16>])
}

/// The tasks are query heads.
#[unsafe(no_mangle)]
extern "C" fn qtuner_models_attention_backward(call: *const Call, begin: i64, end: i64) -> c_int {
    run(call, begin, end, [backward::backward::<f32>, backward::backward::<bf16>])
}

/// The tasks are blocks of keys.
#[unsafe(no_mangle)]
extern "C" fn qtuner_models_attention_add_heads(call: *const Call, begin: i64, end: i64) -> c_int {
    run(call, begin, end, [backward::add_heads::<f32>, backward::add_heads::<bf16>])
}

/// `c10::ScalarType::BFloat16`; any other dtype is f32 here.
const BFLOAT16: i32 = 15;

/// A stage of a call in f32, and in bf16.
type Stage = [unsafe fn(&Call, usize); 2];

/// Tasks `begin..end` of a call; 0, or 1 after a panic, none of which crosses into C++.
///
/// C++ calls this only after `is_available`, with a call whose memory is there, and with each task once; so a task has its
/// instructions, memory of its dtype, and its results for itself.
fn run(call: *const Call, begin: i64, end: i64, stage: Stage) -> c_int {
    // SAFETY: C++ passes a pointer to a call on its stack.
    let call = unsafe { &*call };
    let task = stage[usize::from(call.dtype == BFLOAT16)];
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        for number in size(begin)..size(end) {
            // SAFETY: see above.
            unsafe { task(call, number) };
        }
        gemm::release();
    }));
    c_int::from(outcome.is_err())
}
