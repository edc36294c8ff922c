//! The C face of `lora.cpp`, `linear.cpp` and `autograd.cpp`.
//!
//! A `*const C_tensor` is an `at::Tensor*`, in `tch` as here. An entry returns 0, or 1 with a message in
//! `qtuner_core_last_error`; no exception leaves one.

use std::ffi::{c_char, c_int, c_void};
use torch_sys::C_tensor;

unsafe extern "C" {
    pub(super) fn qtuner_core_last_error() -> *const c_char;

    pub(super) fn qtuner_core_low_rank(
        x: *const C_tensor,
        a: *const C_tensor,
        passed: *mut *mut C_tensor,
        low: *mut *mut C_tensor,
    ) -> c_int;

    pub(super) fn qtuner_core_add_lora(
        y: *const C_tensor,
        low: *const C_tensor,
        b: *const C_tensor,
        bias: *const C_tensor,
        scaling: f64,
        result: *mut *mut C_tensor,
    ) -> c_int;

    pub(super) fn qtuner_core_linear(
        x: *const C_tensor,
        w: *const C_tensor,
        bias: *const C_tensor,
        result: *mut *mut C_tensor,
    ) -> c_int;

    pub(super) fn qtuner_core_backward(tensor: *const C_tensor, gradient: *const C_tensor) -> c_int;

    pub(super) fn qtuner_core_enter_inference_mode(entered: *mut *mut c_void) -> c_int;

    pub(super) fn qtuner_core_leave_inference_mode(entered: *mut c_void);
}
