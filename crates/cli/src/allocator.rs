//! How the C library gives memory back.
#![allow(unsafe_code, reason = "this is the crate's one room for it")]

/// Blocks from this size on are mapped one by one, and go back to the system when they are freed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const THRESHOLD: i32 = 4 << 20;

/// Lets the memory of freed tensors go back to the system at once, unless `MALLOC_MMAP_THRESHOLD_` says otherwise.
///
/// glibc raises its threshold to the largest block that it has seen freed, up to 32 MB, and from then on cuts tensors out of
/// one heap, in which the activations of a training step leave holes. Fresh pages cost time: docs/performance.md has both.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn return_freed_memory() {
    if std::env::var_os("MALLOC_MMAP_THRESHOLD_").is_none() {
        // SAFETY: the call sets a number of the allocator under the allocator's own lock.
        unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, THRESHOLD) };
    }
}

/// Whether a tensor of so many bytes is cut out of the heap, where its place may stay unused after it.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn cuts_from_heap(bytes: u64) -> bool {
    u64::try_from(THRESHOLD).is_ok_and(|threshold| bytes < threshold)
}

/// Other C libraries look after themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn cuts_from_heap(_: u64) -> bool {
    false
}

/// Other C libraries look after themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn return_freed_memory() {}
