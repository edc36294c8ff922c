//! What `tch` cannot say: an adapter as two nodes of autograd (`lora.cpp`, with the numbers in `product`), a dense layer
//! by whichever product is the fastest (`linear.cpp`), a backward pass that starts with a gradient and inference mode (`autograd.cpp`), and one flag of libtorch.
#![allow(unsafe_code, reason = "this is the crate's one room for foreign calls")]

mod ffi;
mod product;
#[cfg(test)]
mod tests;

use std::ffi::{CStr, c_int, c_void};
use std::ptr;
use tch::{TchError, Tensor};
use torch_sys::C_tensor;

/// Whether autocast is on: libtorch's argument-free query, which is about CUDA and is what PEFT asks too.
pub(crate) fn autocast_is_enabled() -> bool {
    // SAFETY: the function takes nothing, reads a thread-local flag of libtorch and cannot throw.
    unsafe { torch_sys::at_autocast_is_enabled() != 0 }
}

/// What an adapter makes of a layer's input.
#[derive(Debug)]
pub(crate) struct LowRank {
    /// The input as the base layer is to read it, so that both gradients of it meet in one place; the input itself will do
    /// where this is none.
    pub(crate) passed: Option<Tensor>,
    /// `x a^T [rows, r]`, in the dtype of `a`.
    pub(crate) low: Tensor,
}

/// `x a^T` in the dtype of `a`, for `x [..., in]` and `a [r, in]`. The gradient reaches both.
///
/// What is kept for it is `x` as it is; temporaries are a few megabytes whatever the sizes.
pub(crate) fn low_rank(x: &Tensor, a: &Tensor) -> Result<LowRank, TchError> {
    let (mut passed, mut low) = (ptr::null_mut(), ptr::null_mut());
    // SAFETY: both pointers are live tensors that outlive the call; the entry catches exceptions and writes owned tensors,
    // or null for the first, where it returns 0.
    let code = unsafe { ffi::qtuner_core_low_rank(x.as_ptr(), a.as_ptr(), &raw mut passed, &raw mut low) };
    let low = owned(code, low)?;
    Ok(LowRank { passed: (!passed.is_null()).then(|| owned(code, passed)).transpose()?, low })
}

/// What else an adapter has: `b [out, r]` and `bias [out]`, of the dtype of `low`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lora<'a> {
    pub(crate) b: &'a Tensor,
    pub(crate) bias: Option<&'a Tensor>,
    pub(crate) scaling: f64,
}

/// `y + cast(scaling * (low b^T + bias))` in the shape and dtype of `y [..., out]`.
///
/// The product is in the dtype of `b`, rounded once to that of `y`. The gradient reaches everything. What is kept for it is
/// `low`; the sum takes the memory of `y` if nobody else can see that.
#[expect(clippy::needless_pass_by_value, reason = "`y` is used up")]
pub(crate) fn add_lora(y: Tensor, low: &Tensor, lora: Lora<'_>) -> Result<Tensor, TchError> {
    let bias = lora.bias.map_or(ptr::null(), Tensor::as_ptr);
    let mut out = ptr::null_mut();
    // SAFETY: every pointer is a live tensor (or a null bias) that outlives the call; the entry catches exceptions and
    // writes an owned tensor where it returns 0. It changes `y` only if that is its storage's one handle, which ends here.
    let code = unsafe {
        ffi::qtuner_core_add_lora(y.as_ptr(), low.as_ptr(), lora.b.as_ptr(), bias, lora.scaling, &raw mut out)
    };
    owned(code, out)
}

/// `x w^T + bias`, for `x [..., n]`, `w [o, n]` and `bias [o]`: libtorch's linear, but for few rows that no gradient is
/// recorded for, whose product is as fast here as memory is, and for many rows in f32 or f16, for which oneDNN is asked.
pub(crate) fn linear(x: &Tensor, w: &Tensor, bias: Option<&Tensor>) -> Result<Tensor, TchError> {
    let bias = bias.map_or(ptr::null(), Tensor::as_ptr);
    let mut out = ptr::null_mut();
    // SAFETY: as for `add_lora`.
    let code = unsafe { ffi::qtuner_core_linear(x.as_ptr(), w.as_ptr(), bias, &raw mut out) };
    owned(code, out)
}

/// Adds the gradients of `sum(tensor * gradient)` to the leaves that `tensor` was made of, and frees its graph.
pub(crate) fn backward(tensor: &Tensor, gradient: &Tensor) -> Result<(), TchError> {
    // SAFETY: both pointers are live tensors that outlive the call; the entry catches exceptions.
    let code = unsafe { ffi::qtuner_core_backward(tensor.as_ptr(), gradient.as_ptr()) };
    if code == 0 { Ok(()) } else { Err(TchError::Torch(last_error())) }
}

/// Inference mode, until it is dropped. It belongs to the thread that entered it, so it is not `Send`.
#[derive(Debug)]
pub(crate) struct InferenceMode(*mut c_void);

impl InferenceMode {
    /// Enters it.
    pub(crate) fn enter() -> Result<Self, TchError> {
        let mut entered = ptr::null_mut();
        // SAFETY: the entry writes a pointer where it returns 0, and catches exceptions.
        match unsafe { ffi::qtuner_core_enter_inference_mode(&raw mut entered) } {
            0 => Ok(Self(entered)),
            _ => Err(TchError::Torch(last_error())),
        }
    }
}

impl Drop for InferenceMode {
    fn drop(&mut self) {
        // SAFETY: the pointer is what entering gave, on this thread, and is given back once; restoring thread-local flags
        // cannot throw.
        unsafe { ffi::qtuner_core_leave_inference_mode(self.0) };
    }
}

/// What an entry wrote.
fn owned(code: c_int, out: *mut C_tensor) -> Result<Tensor, TchError> {
    if code != 0 || out.is_null() {
        return Err(TchError::Torch(last_error()));
    }
    // SAFETY: the entry returned 0, so `out` is a tensor made by `new` and owned by nobody else; `Tensor` frees it.
    Ok(unsafe { Tensor::from_ptr(out) })
}

/// The message of the last failure on this thread.
fn last_error() -> String {
    // SAFETY: the function returns a NUL-terminated string that lives until the thread's next failure.
    unsafe { CStr::from_ptr(ffi::qtuner_core_last_error()) }.to_string_lossy().into_owned()
}
