//! The AWQ kernels and their tests, without libtorch: what `cargo xtask emulate` builds for another CPU.
#![cfg(test)]

#[path = "../../../crates/awq/src/kernel/mod.rs"]
mod kernel;
