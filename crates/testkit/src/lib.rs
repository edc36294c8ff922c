//! The laws that every qtuner backend obeys, as tests that a backend author gets for one fixture.
//!
//! Implement [`BackendFixture`] once: which sizes the format can hold, how to make a layer of some size, how to read one
//! back, and ways to damage one. Then [`laws!`] is the test suite, one test a law. Put it in a test binary of its own
//! (`tests/laws.rs`): the laws set libtorch's threads and seed and measure the memory of the whole process.
//!
//! | law | what holds |
//! |---|---|
//! | [`Forward`](Law::Forward) | forward equals the dequantized reference, whatever the shape, stride, batch, threads |
//! | [`Gradient`](Law::Gradient) | the gradient to the input equals the reference's, and finite differences |
//! | [`Identity`](Law::Identity) | fresh and disabled adapters change nothing |
//! | [`Addition`](Law::Addition) | active adapters add; scaling acts on their contributions alone |
//! | [`Merge`](Law::Merge) | merging changes no output, unmerging restores the bytes; or a typed error |
//! | [`Storage`](Law::Storage) | what is saved loads |
//! | [`Statelessness`](Law::Statelessness) | evaluation leaves no trace in training |
//! | [`Refusal`](Law::Refusal) | bad input is a typed error, never a panic, and changes nothing |
//! | [`LifeCycle`](Law::LifeCycle) | any sequence of operations agrees with a dense model of it |
//! | [`Memory`](Law::Memory) | forward and backward stay within the stated bound |
//!
//! The bounds are derived from the arithmetic that a layer is allowed: a sum of `k` products in f32, in any order, and
//! roundings to the dtype of the input. For f32 input that is all; for bf16 and f16 input, what a dense layer of that dtype
//! does: weight and bias rounded to it, and the product before the bias is added.
//!
//! The random cases are the same in every run; `QTUNER_LAWS_SEED` gives others, and a violation says which seed it was found
//! with, and the smallest case.
//!
//! ```
//! use qtuner_core::{dense, Dispatcher, Layer, LayerError, Linear};
//! use qtuner_testkit::{
//!     BackendFixture, Case, CheckpointTensors, Corruption, Law, Shapes, ThreadAgreement,
//! };
//! use tch::Kind;
//!
//! struct Dense;
//!
//! impl BackendFixture for Dense {
//!     fn name(&self) -> &'static str {
//!         "dense"
//!     }
//!
//!     fn input_kinds(&self) -> Vec<Kind> {
//!         vec![Kind::Float]
//!     }
//!
//!     fn shapes(&self) -> Shapes {
//!         Shapes { in_multiple: 1, out_multiple: 1, group_sizes: vec![-1] }
//!     }
//!
//!     fn build(&self, case: &Case) -> Result<Box<dyn Layer>, LayerError> {
//!         let weight = Case::normal(&[case.out_features, case.in_features], 0.1);
//!         let bias = case.bias.then(|| Case::normal(&[case.out_features], 1.0));
//!         Ok(Box::new(Linear::new(weight, bias)?))
//!     }
//!
//!     fn load(&self, mut tensors: CheckpointTensors) -> Result<Box<dyn Layer>, LayerError> {
//!         Ok(Box::new(Linear::new(tensors.take("weight")?, tensors.take_optional("bias"))?))
//!     }
//!
//!     fn corruptions(&self) -> Vec<Corruption<'_>> {
//!         let good = || {
//!             let layer = Linear::new(Case::normal(&[6, 4], 0.1), Some(Case::normal(&[6], 1.0)));
//!             CheckpointTensors::of(&layer.expect("the shapes fit"))
//!         };
//!         vec![
//!             Corruption::new("no weight", move || self.load(good().without("weight"))).blamed_on("weight"),
//!             Corruption::new("short bias", move || self.load(good().truncated("bias", 0))).blamed_on("bias"),
//!         ]
//!     }
//!
//!     fn dispatcher(&self) -> Dispatcher {
//!         dense::DISPATCHER
//!     }
//!
//!     // The kernels are those of libtorch's BLAS library.
//!     fn thread_agreement(&self) -> ThreadAgreement {
//!         ThreadAgreement::WithinBound
//!     }
//! }
//!
//! // One `#[test]` a law, in a module called `laws`.
//! qtuner_testkit::laws!(Dense);
//!
//! # fn main() {
//! // Or one law by hand:
//! qtuner_testkit::check(&Dense, Law::Identity).unwrap();
//! # }
//! ```

mod adapted;
mod approx;
mod bytes;
mod case;
mod dense;
mod fixture;
mod input;
mod law;
mod laws;
mod run;
mod tensors;

pub use case::{Case, Shapes, Values};
pub use fixture::{BackendFixture, ThreadAgreement};
pub use law::{Law, LawViolation};
pub use run::{SEED_VARIABLE, check, uphold, uphold_with};
pub use tensors::{CheckpointTensors, Corruption};

/// Ten tests, one a law, for the [`BackendFixture`] that the expression gives.
///
/// `laws!(Fixture)` puts them in a module called `laws`; `laws!(mod toy, Fixture)` in one of another name, for binaries with
/// several fixtures. The module sees what its parent does.
#[macro_export]
macro_rules! laws {
    ($fixture:expr) => {
        $crate::laws!(mod laws, $fixture);
    };
    (mod $module:ident, $fixture:expr) => {
        $crate::laws! {
            @tests $module, $fixture;
            forward_equals_the_dequantized_reference: Forward,
            the_gradient_to_the_input_equals_the_references: Gradient,
            fresh_and_disabled_adapters_change_nothing: Identity,
            active_adapters_add_and_scale: Addition,
            merging_changes_no_output_and_unmerging_restores_the_bytes: Merge,
            what_is_saved_loads: Storage,
            evaluation_leaves_no_trace_in_training: Statelessness,
            bad_input_is_a_typed_error: Refusal,
            the_life_cycle_agrees_with_a_dense_model: LifeCycle,
            forward_and_backward_stay_within_the_memory_bound: Memory,
        }
    };
    (@tests $module:ident, $fixture:expr; $($sentence:ident: $law:ident,)+) => {
        #[cfg(test)]
        mod $module {
            #[allow(unused_imports, reason = "the fixture may be a path")]
            use super::*;

            $(
                #[test]
                fn $sentence() {
                    $crate::uphold(&$fixture, $crate::Law::$law);
                }
            )+
        }
    };
}
