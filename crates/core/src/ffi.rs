//! The one call into libtorch that `tch` keeps to itself.
#![allow(unsafe_code, reason = "this is the crate's one room for it")]

/// Whether autocast is on: libtorch's argument-free query, which is about CUDA and is what PEFT asks too.
pub(crate) fn autocast_is_enabled() -> bool {
    // SAFETY: the function takes nothing, reads a thread-local flag of libtorch and cannot throw.
    unsafe { torch_sys::at_autocast_is_enabled() != 0 }
}
