//! What libtorch does slowly: causal attention (`attention.cpp`, with the numbers in `attention`), norms, gates and
//! rotations of many small operators, and losses of many passes (`elementwise.cpp`, with the numbers in `elementwise`).
//!
//! Each face gives nothing where operands or CPU are not such as it takes; then libtorch's operators are the way.
#![allow(unsafe_code, reason = "this is the crate's one room for foreign calls")]

mod attend;
#[cfg(target_arch = "x86_64")]
mod attention;
mod elementwise;
mod ffi;
#[cfg(test)]
mod tests;

pub(crate) use self::attend::{Attended, attend};

use crate::config::NormWeight;
use std::ffi::{CStr, c_int};
use std::ptr;
use tch::{Device, Kind, TchError, Tensor};
use torch_sys::C_tensor;

/// The RMS norm of `x [.., width]` times `weight [width]`, both of f32 or both of bf16, on the CPU; `weight` is not trained.
pub(crate) fn rms_norm(
    x: &Tensor,
    weight: &Tensor,
    style: NormWeight,
    eps: f64,
) -> Result<Option<Tensor>, TchError> {
    let fits = weight.dim() == 1 && x.size().last() == Some(&weight.size1()?);
    if !are_plain([x, weight]) || !fits || weight.requires_grad() {
        return Ok(None);
    }
    let style = match style {
        NormWeight::Plain => 0,
        NormWeight::OnePlus => 1,
    };
    // SAFETY: the pointers are live tensors that outlive the call, of fitting sizes and dtypes; the entry catches exceptions and
    // writes an owned tensor where it returns 0.
    let out =
        unsafe { made(|out| ffi::qtuner_models_rms_norm(x.as_ptr(), weight.as_ptr(), eps, style, out)) };
    out.map(Some)
}

/// `silu(gate) * up`, of one size, both of f32 or both of bf16, on the CPU.
pub(crate) fn silu_gate(gate: &Tensor, up: &Tensor) -> Result<Option<Tensor>, TchError> {
    if !are_plain([gate, up]) || gate.size() != up.size() {
        return Ok(None);
    }
    // SAFETY: as for `rms_norm`.
    unsafe { made(|out| ffi::qtuner_models_silu_gate(gate.as_ptr(), up.as_ptr(), out)) }.map(Some)
}

/// `x [batch, heads, time, width]` times `cos`, plus the other half of each row times `sin`, both `[batch or 1, 1, time, width]`;
/// all of f32 or all of bf16, on the CPU; angles are not trained.
pub(crate) fn rotate(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Option<Tensor>, TchError> {
    let (Ok((batch, _, time, width)), Ok(of_cos), Ok(of_sin)) = (x.size4(), cos.size4(), sin.size4()) else {
        return Ok(None);
    };
    let fits = of_cos == of_sin && (of_cos == (1, 1, time, width) || of_cos == (batch, 1, time, width));
    let is_trained = cos.requires_grad() || sin.requires_grad();
    if !are_plain([x, cos, sin]) || !fits || width % 2 != 0 || is_trained {
        return Ok(None);
    }
    // SAFETY: as for `rms_norm`.
    unsafe { made(|out| ffi::qtuner_models_rotate(x.as_ptr(), cos.as_ptr(), sin.as_ptr(), out)) }.map(Some)
}

/// The losses `[n]`, in f32, of `logits [n, vocab]`, of f32 or bf16 on the CPU, against `targets [n]`.
pub(crate) fn losses(logits: &Tensor, targets: &Tensor) -> Result<Option<Tensor>, TchError> {
    if !are_losses(logits, targets) {
        return Ok(None);
    }
    // SAFETY: as for `rms_norm`.
    let losses = unsafe {
        made(|losses| {
            let (logits, targets) = (logits.as_ptr(), targets.as_ptr());
            ffi::qtuner_models_cross_entropy(logits, targets, 0.0, losses, ptr::null_mut())
        })
    };
    losses.map(Some)
}

/// The same, and the gradient of `weight` times their sum.
pub(crate) fn losses_and_gradient(
    logits: &Tensor,
    targets: &Tensor,
    weight: f64,
) -> Result<Option<(Tensor, Tensor)>, TchError> {
    if !are_losses(logits, targets) {
        return Ok(None);
    }
    let mut losses = ptr::null_mut();
    // SAFETY: as for `rms_norm`; where the entry returns 0, it has written both.
    let (losses, gradient) = unsafe {
        let gradient = made(|gradient| {
            let (logits, targets) = (logits.as_ptr(), targets.as_ptr());
            ffi::qtuner_models_cross_entropy(logits, targets, weight, &raw mut losses, gradient)
        })?;
        (Tensor::from_ptr(losses), gradient)
    };
    Ok(Some((losses, gradient)))
}

fn are_losses(logits: &Tensor, targets: &Tensor) -> bool {
    let rows = logits.size2().ok().map(|(rows, _)| rows);
    are_plain([logits])
        && targets.device() == Device::Cpu
        && targets.kind() == Kind::Int64
        && targets.size1().ok() == rows
}

/// Whether all are on the CPU, with elements, and of one dtype, f32 or bf16.
fn are_plain<const N: usize>(tensors: [&Tensor; N]) -> bool {
    let kind = tensors[0].kind();
    matches!(kind, Kind::Float | Kind::BFloat16)
        && tensors.iter().all(|x| {
            x.device() == Device::Cpu && x.kind() == kind && !x.is_sparse() && !x.is_mkldnn() && x.numel() > 0
        })
}

/// What an entry writes.
///
/// # Safety
/// Where it returns 0, the entry has written a tensor made by `new` and owned by nobody else.
unsafe fn made(entry: impl FnOnce(*mut *mut C_tensor) -> c_int) -> Result<Tensor, TchError> {
    let mut out = ptr::null_mut();
    if entry(&raw mut out) != 0 || out.is_null() {
        // SAFETY: the function returns a NUL-terminated string that lives until the thread's next failure.
        let message = unsafe { CStr::from_ptr(ffi::qtuner_models_last_error()) };
        return Err(TchError::Torch(message.to_string_lossy().into_owned()));
    }
    // SAFETY: as promised by the caller; `Tensor` frees it.
    Ok(unsafe { Tensor::from_ptr(out) })
}
