//! The C face of `extension.cpp`, and the one function of libtorch's own C face that is used.
//!
//! A `*const C_tensor` is an `at::Tensor*`, in `tch` as here. Entries return 0, or 1 with a message in
//! `qtuner_awq_last_error`; no exception leaves them.

use std::ffi::{c_char, c_int, c_void};
use torch_sys::C_tensor;

/// Called with a range of tasks.
pub(super) type ParallelFunc = extern "C" fn(begin: i64, end: i64, context: *mut c_void);

unsafe extern "C" {
    pub(super) fn qtuner_awq_last_error() -> *const c_char;

    pub(super) fn qtuner_awq_is_registered() -> c_int;

    pub(super) fn qtuner_awq_gemm(
        x: *const C_tensor,
        qweight: *const C_tensor,
        qzeros: *const C_tensor,
        scales: *const C_tensor,
        bias: *const C_tensor,
        result: *mut *mut C_tensor,
    ) -> c_int;

    pub(super) fn qtuner_awq_gemm_fallback(
        x: *const C_tensor,
        qweight: *const C_tensor,
        qzeros: *const C_tensor,
        scales: *const C_tensor,
        bias: *const C_tensor,
        result: *mut *mut C_tensor,
    ) -> c_int;

    pub(super) fn qtuner_awq_gemm_grad_input(
        grad_y: *const C_tensor,
        qweight: *const C_tensor,
        qzeros: *const C_tensor,
        scales: *const C_tensor,
        result: *mut *mut C_tensor,
    ) -> c_int;

    #[cfg(test)]
    pub(super) fn qtuner_awq_gemm_meta(
        x: *const C_tensor,
        qweight: *const C_tensor,
        qzeros: *const C_tensor,
        scales: *const C_tensor,
        sizes: *mut i64,
        capacity: i64,
        dims: *mut i64,
    ) -> c_int;

    /// libtorch's intra-op pool (`torch/csrc/stable/c/shim.h`): splits `begin..end` over its threads and waits.
    pub(super) fn torch_parallel_for(
        begin: i64,
        end: i64,
        grain_size: i64,
        function: ParallelFunc,
        context: *mut c_void,
    ) -> c_int;
}
