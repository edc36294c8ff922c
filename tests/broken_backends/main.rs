//! The laws catch what they are for: a toy backend obeys all of them, and each faulty version of it breaks the law of its
//! fault before any other.

mod fault;
mod fixture;
mod toy;

use fault::Fault;
use fixture::ToyFixture;
use qtuner_testkit::{Law, LawViolation, check, laws};

laws!(mod toy_without_faults, ToyFixture(Fault::None));

/// The first law that the faulty toy breaks, in the order of the laws.
fn first_violation(fault: Fault) -> LawViolation {
    let violation = Law::ALL.into_iter().find_map(|law| check(&ToyFixture(fault), law).err());
    violation.unwrap_or_else(|| panic!("{fault:?} obeys all laws"))
}

#[track_caller]
fn breaks(fault: Fault, law: Law, symptom: &str) {
    let violation = first_violation(fault);
    assert_eq!(violation.law, law, "{violation}");
    assert!(violation.detail.contains(symptom), "expected {symptom:?} in: {violation}");
}

#[test]
fn a_scaled_output_breaks_the_forward_law() {
    breaks(Fault::ScalesOutput, Law::Forward, "the output Float");
}

#[test]
fn an_ignored_last_group_breaks_the_forward_law() {
    breaks(Fault::IgnoresLastGroup, Law::Forward, "the output");
}

#[test]
fn a_forgotten_as_quantized_breaks_the_forward_law() {
    breaks(Fault::ForgetsAsQuantized, Law::Forward, "as_quantized");
}

#[test]
fn a_dropped_gradient_breaks_the_gradient_law() {
    breaks(Fault::DropsGradient, Law::Gradient, "detached");
}

#[test]
fn an_output_that_recording_changes_breaks_the_gradient_law() {
    breaks(Fault::ScalesRecordedOutput, Law::Gradient, "with a gradient recorded");
}

#[test]
fn a_wrong_gradient_of_many_rows_breaks_the_gradient_law() {
    breaks(Fault::DoublesGradientOfManyRows, Law::Gradient, "300 rows");
}

#[test]
fn an_adapter_that_starts_trained_breaks_the_identity_law() {
    breaks(Fault::StartsTrained, Law::Identity, "a fresh adapter changed the output");
}

#[test]
fn a_false_claim_of_merging_breaks_the_merge_law() {
    breaks(Fault::ClaimsMerge, Law::Merge, "capabilities");
}

#[test]
fn a_lost_bias_breaks_the_storage_law() {
    breaks(Fault::LosesBias, Law::Storage, "another output");
}

#[test]
fn state_between_training_and_evaluation_breaks_the_statelessness_law() {
    breaks(Fault::LatchesEvaluation, Law::Statelessness, "differs before and after evaluation");
}

#[test]
fn a_tensor_kept_from_inference_mode_breaks_the_statelessness_law() {
    breaks(Fault::KeepsFirstSteps, Law::Statelessness, "Inference tensors cannot be saved for backward");
}

#[test]
fn a_panic_breaks_the_refusal_law() {
    breaks(Fault::Panics, Law::Refusal, "panicked");
}

#[cfg(target_os = "linux")]
#[test]
fn a_dense_copy_breaks_the_memory_law() {
    breaks(Fault::MakesDenseCopy, Law::Memory, "at its peak");
}

#[test]
fn a_violation_says_how_to_see_it_again() {
    let violation = first_violation(Fault::ScalesOutput);
    assert!(violation.to_string().starts_with("toy breaks law 1 (forward equals"), "{violation}");
    assert!(violation.detail.contains("smallest case: (Case {"), "{violation}");
    assert!(violation.detail.contains(&format!("{}=", qtuner_testkit::SEED_VARIABLE)), "{violation}");
}
