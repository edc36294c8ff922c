//! The numbers of this crate against references, and beside libtorch's operators.

#[cfg(target_arch = "x86_64")]
mod attention;
mod elementwise;
