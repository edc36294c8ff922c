//! The C face of `attention.cpp` and `elementwise.cpp`.
//!
//! A `*const C_tensor` is an `at::Tensor*`, in `tch` as here. An entry returns 0, or 1 with a message in
//! `qtuner_models_last_error`; no exception leaves one.

#[cfg(target_arch = "x86_64")]
use half::bf16;
use std::ffi::{c_char, c_int};
use torch_sys::C_tensor;

unsafe extern "C" {
    pub(super) fn qtuner_models_last_error() -> *const c_char;

    pub(super) fn qtuner_models_rms_norm(
        x: *const C_tensor,
        weight: *const C_tensor,
        eps: f64,
        style: c_int,
        result: *mut *mut C_tensor,
    ) -> c_int;

    pub(super) fn qtuner_models_silu_gate(
        gate: *const C_tensor,
        up: *const C_tensor,
        result: *mut *mut C_tensor,
    ) -> c_int;

    pub(super) fn qtuner_models_cross_entropy(
        logits: *const C_tensor,
        targets: *const C_tensor,
        weight: f64,
        losses: *mut *mut C_tensor,
        gradient: *mut *mut C_tensor,
    ) -> c_int;

    pub(super) fn qtuner_models_rotate(
        x: *const C_tensor,
        cos: *const C_tensor,
        sin: *const C_tensor,
        result: *mut *mut C_tensor,
    ) -> c_int;
}

#[cfg(target_arch = "x86_64")]
unsafe extern "C" {
    pub(super) fn qtuner_models_attend(
        query: *const C_tensor,
        key: *const C_tensor,
        value: *const C_tensor,
        mask: *const C_tensor,
        scale: f64,
        softcap: f64,
        result: *mut *mut C_tensor,
    ) -> c_int;

    pub(super) fn qtuner_models_brgemm_bf16(
        m: i64,
        n: i64,
        k: i64,
        adds: c_int,
        a: *const bf16,
        b: *const bf16,
        c: *mut f32,
    ) -> c_int;

    pub(super) fn qtuner_models_brgemm_f32(
        m: i64,
        n: i64,
        k: i64,
        adds: c_int,
        a: *const f32,
        b: *const f32,
        c: *mut f32,
    ) -> c_int;

    pub(super) fn qtuner_models_brgemm_release() -> c_int;
}
