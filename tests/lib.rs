//! Tests that cross the crates of qtuner; there is no library here.
//!
//! - `golden_adapter`: PEFT's adapter over AutoAWQ's layers.
//! - `laws_dense`: the ten laws on dense layers.
//! - `emulated`: the AWQ kernels without libtorch, a workspace of its own, for another CPU (`cargo xtask emulate`).
//! - `broken_backends`: a toy backend that obeys the laws, and faulty ones that each break a law of its name.

/// The README's lines compile and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// The guide for models compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../docs/injecting-into-your-model.md")]
struct InjectingIntoYourModel;

/// The guide for backends compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../docs/writing-a-backend.md")]
struct WritingABackend;
