//! The operators `qtuner_awq::gemm` and `qtuner_awq::gemm_grad_input` of libtorch's dispatcher.
//!
//! `extension.cpp` registers them: a schema, a CPU kernel, a fallback of ATen operators for every other device, a meta
//! kernel and an autograd kernel. The CPU kernel's numbers come back to Rust ([`crate::kernel`]) through [`kernels`].
//! All unsafe code of the crate but the vector instructions of the kernel is in this folder.
#![allow(unsafe_code, reason = "this is the crate's one room for foreign calls")]

mod ffi;
mod kernels;
mod pool;
#[cfg(test)]
mod tests;

use crate::AwqError;
use std::ffi::CStr;
use std::ptr;
use tch::Tensor;
use torch_sys::C_tensor;

/// Whether the extension is registered with libtorch's dispatcher, with its CPU kernel.
///
/// It is wherever this crate is linked; [`dispatch_awq`](crate::dispatch_awq) asks all the same, and declines if not.
///
/// ```
/// assert!(qtuner_awq::is_available());
/// ```
pub fn is_available() -> bool {
    // SAFETY: the function takes nothing and only looks the operator up in a table that is complete before `main`.
    unsafe { ffi::qtuner_awq_is_registered() != 0 }
}

/// The packed operands of the operators; see [`WqLinearGemm`](crate::WqLinearGemm) for shapes and dtypes.
#[derive(Clone, Copy)]
pub(crate) struct Operands<'a> {
    pub(crate) qweight: &'a Tensor,
    pub(crate) qzeros: &'a Tensor,
    pub(crate) scales: &'a Tensor,
}

/// Which kernel of `gemm` runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// The one that the dispatcher chooses, with autograd.
    Dispatched,
    /// The device-neutral one, on whatever device the tensors are.
    #[cfg_attr(not(test), allow(dead_code, reason = "the tests compare the kernels"))]
    Fallback,
}

/// `y = x W + b`, through libtorch's dispatcher: differentiable in `x` and `bias`.
pub(crate) fn gemm(
    route: Route,
    x: &Tensor,
    operands: Operands<'_>,
    bias: Option<&Tensor>,
) -> Result<Tensor, AwqError> {
    let entry = match route {
        Route::Dispatched => ffi::qtuner_awq_gemm,
        Route::Fallback => ffi::qtuner_awq_gemm_fallback,
    };
    let bias = bias.map_or(ptr::null(), Tensor::as_ptr);
    // SAFETY: every pointer is a live tensor (or a null bias) that outlives the call, and the entry catches exceptions.
    result_of(|out| unsafe {
        entry(
            x.as_ptr(),
            operands.qweight.as_ptr(),
            operands.qzeros.as_ptr(),
            operands.scales.as_ptr(),
            bias,
            out,
        )
    })
}

/// `grad_x = grad_y W^T`, through libtorch's dispatcher.
pub(crate) fn gemm_grad_input(grad_y: &Tensor, operands: Operands<'_>) -> Result<Tensor, AwqError> {
    // SAFETY: every pointer is a live tensor that outlives the call, and the entry catches exceptions.
    result_of(|out| unsafe {
        ffi::qtuner_awq_gemm_grad_input(
            grad_y.as_ptr(),
            operands.qweight.as_ptr(),
            operands.qzeros.as_ptr(),
            operands.scales.as_ptr(),
            out,
        )
    })
}

/// The size of `gemm`'s result by its meta kernel, without computing it.
#[cfg(test)]
pub(crate) fn gemm_size(x: &Tensor, operands: Operands<'_>) -> Result<Vec<i64>, AwqError> {
    let mut sizes = [0i64; 16];
    let mut dims = 0i64;
    // SAFETY: every pointer is a live tensor; `sizes` has the capacity that is passed; the entry catches exceptions.
    let code = unsafe {
        ffi::qtuner_awq_gemm_meta(
            x.as_ptr(),
            operands.qweight.as_ptr(),
            operands.qzeros.as_ptr(),
            operands.scales.as_ptr(),
            sizes.as_mut_ptr(),
            16,
            &raw mut dims,
        )
    };
    if code != 0 {
        return Err(AwqError::Extension(last_error()));
    }
    Ok(sizes[..usize::try_from(dims).unwrap_or(0)].to_vec())
}

/// Runs an entry that writes an owned tensor, or fails.
fn result_of(call: impl FnOnce(*mut *mut C_tensor) -> std::ffi::c_int) -> Result<Tensor, AwqError> {
    let mut out = ptr::null_mut();
    if call(&raw mut out) != 0 || out.is_null() {
        return Err(AwqError::Extension(last_error()));
    }
    // SAFETY: the entry returned 0, so `out` is a tensor made by `new` and owned by nobody else; `Tensor` frees it.
    Ok(unsafe { Tensor::from_ptr(out) })
}

/// The message of the last failure on this thread.
fn last_error() -> String {
    // SAFETY: the function returns a NUL-terminated string that lives until the thread's next failure.
    unsafe { CStr::from_ptr(ffi::qtuner_awq_last_error()) }.to_string_lossy().into_owned()
}
