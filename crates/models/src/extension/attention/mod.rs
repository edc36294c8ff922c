//! The numbers of causal attention in bf16, for CPUs with AVX-512 BF16.
//!
//! Scores are never kept: they are made tile by tile, of 64 queries and 128 keys, in the second-level cache, and again for the
//! gradient. Products are of bf16, with sums in f32; scores and weights are f32 until a product takes them, and what no query of
//! a tile sees is left out. libtorch's own operator does the same with products that, without AMX, convert to f32 first.
//!
//! | module | what |
//! |---|---|
//! | `call` | a call, and how it is cut |
//! | `pack` | blocks of rows as sides of products |
//! | `gemm` | products of tiles, libtorch's |
//! | `scores` | from products to scores: scale, soft cap, mask |
//! | `forward`, `backward` | the rest |
//! | `vector` | sixteen lanes |
//!
//! A result depends on the operands alone, not on threads.

mod backward;
mod call;
mod forward;
mod gemm;
mod pack;
mod scores;
mod vector;

use self::call::{Call, size};
use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Whether CPU and libtorch have what it takes.
pub(super) fn is_available() -> bool {
    vector::is_available() && gemm::is_available()
}

/// Tasks `begin..end` of a call: blocks of keys; 0, or 1 after a panic.
#[unsafe(no_mangle)]
extern "C" fn qtuner_models_attention_pack(call: *const Call, begin: i64, end: i64) -> c_int {
    // SAFETY: see `run`.
    run(call, begin, end, |call, task| unsafe { pack::pack(call, task) })
}

/// Tasks `begin..end` of a call: blocks of queries; 0, or 1 after a panic.
#[unsafe(no_mangle)]
extern "C" fn qtuner_models_attention_forward(call: *const Call, begin: i64, end: i64) -> c_int {
    // SAFETY: see `run`.
    run(call, begin, end, |call, task| unsafe { forward::forward(call, task) })
}

/// Tasks `begin..end` of a call: query heads; 0, or 1 after a panic.
#[unsafe(no_mangle)]
extern "C" fn qtuner_models_attention_backward(call: *const Call, begin: i64, end: i64) -> c_int {
    // SAFETY: see `run`.
    run(call, begin, end, |call, task| unsafe { backward::backward(call, task) })
}

/// Tasks `begin..end` of a call: blocks of keys; 0, or 1 after a panic.
#[unsafe(no_mangle)]
extern "C" fn qtuner_models_attention_add_heads(call: *const Call, begin: i64, end: i64) -> c_int {
    // SAFETY: see `run`.
    run(call, begin, end, |call, task| unsafe { backward::add_heads(call, task) })
}

/// No panic crosses into C++.
///
/// C++ calls this only after `is_available`, with a call whose memory is there, and with each task once; so a task has its
/// instructions, and its results for itself.
fn run(call: *const Call, begin: i64, end: i64, task: impl Fn(&Call, usize)) -> c_int {
    // SAFETY: C++ passes a pointer to a call on its stack.
    let call = unsafe { &*call };
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        (size(begin)..size(end)).for_each(|number| task(call, number));
        gemm::release();
    }));
    c_int::from(outcome.is_err())
}
