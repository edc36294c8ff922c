//! The allocator of the whole program, libtorch included: mimalloc's `malloc` and `free` take the C library's place.
//!
//! A training step frees and asks for the same tensors again and again, up to tens of megabytes each. glibc returns memory of
//! that size to the system at once, which clears every page before it gives it out anew: a sixth of a step. Before 2.38 it
//! also leaves holes between aligned blocks, a sixth of the memory. Huge pages are off (`no_thp`): clearing them can take a
//! second while a model is loaded, for a few percent in decoding. `MIMALLOC_ALLOW_THP=1` in the environment turns them on.
#![allow(unsafe_code, reason = "this is the crate's one room for foreign calls")]

use libmimalloc_sys::{mi_option_set, mi_option_t};
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// `mi_option_purge_delay` of `mimalloc.h`, which the bindings do not name: after how many milliseconds unused memory goes back
/// to the system.
const PURGE_DELAY: mi_option_t = 15;
/// Its variable in the environment.
const VARIABLE: &str = "MIMALLOC_PURGE_DELAY";
const NEVER: std::ffi::c_long = -1;

/// Has freed memory kept for what comes next, unless the environment says how long: an eighth of a training step more.
pub(crate) fn keep_freed_memory() {
    if std::env::var_os(VARIABLE).is_none() {
        // SAFETY: the option exists, and setting it is a store to a static of mimalloc.
        unsafe { mi_option_set(PURGE_DELAY, NEVER) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use libmimalloc_sys::mi_option_get;

    #[test]
    fn the_number_is_that_of_the_purge_delay() {
        // A default that no other option has.
        if std::env::var_os(VARIABLE).is_none() {
            // SAFETY: as in `keep_freed_memory`; it is read here.
            assert_eq!(unsafe { mi_option_get(PURGE_DELAY) }, 1000);
        }
    }
}
