//! How the C library's allocator is told to treat the memory of freed tensors.
//!
//! A training step frees and asks for the same tensors again and again, up to tens of megabytes each. glibc returns memory of
//! that size to the system at once, which then clears every page anew: about a sixth of a step's time.
#![allow(unsafe_code, reason = "this is the crate's one room for foreign calls")]

/// Has freed memory kept for what comes next, unless the environment tunes the allocator itself. Other C libraries than
/// glibc are left as they are.
pub(crate) fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        /// From this size on, memory has pages of its own: 1 GiB.
        const MMAP_THRESHOLD: libc::c_int = 1 << 30;
        let is_tuned = |name: &str| std::env::var_os(name).is_some();
        if ["GLIBC_TUNABLES", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"].into_iter().any(is_tuned) {
            return;
        }
        // SAFETY: the call sets two numbers of the allocator, under its own lock. A value that it refuses changes nothing.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, MMAP_THRESHOLD);
            libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
        }
    }
}
