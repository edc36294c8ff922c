//! Tiny random models of every family and rope scaling, against transformers' logits (`tests/fixtures/make_models.py`).
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use qtuner_awq as _;

mod support;

use qtuner_models::{CausalLm, OpenOptions};
use support::{assert_close, fixture, logits, open, relative_error, tensors};
use tch::Kind;

/// One folder of `models/`.
fn check(name: &str) {
    let name = format!("models/{name}");
    let reference = tensors(fixture(&format!("{name}/reference.safetensors")));
    let model = open(&name);
    assert_close(&name, &logits(&model, &reference["input_ids"]), &reference["logits"], 2e-5);
}

#[test]
fn llama_with_linear_scaling_has_the_references_logits() {
    check("llama-linear");
}

#[test]
fn llama_with_dynamic_scaling_and_a_tied_head_has_the_references_logits() {
    check("llama-dynamic");
}

#[test]
fn llama_with_yarn_scaling_and_biases_has_the_references_logits() {
    check("llama-yarn");
}

#[test]
fn mistral_with_a_sliding_window_has_the_references_logits() {
    check("mistral");
}

#[test]
fn qwen2_has_the_references_logits() {
    check("qwen2");
}

#[test]
fn qwen2_with_a_sliding_window_in_some_layers_has_the_references_logits() {
    check("qwen2-sliding");
}

#[test]
fn qwen3_has_the_references_logits() {
    check("qwen3");
}

#[test]
fn gemma3_has_the_references_logits() {
    check("gemma3");
}

#[test]
fn gemma3_with_soft_capping_and_a_stretched_global_rope_has_the_references_logits() {
    check("gemma3-capped");
}

/// Half precision differs from f32 by its roundings: a few for each of the additions to the residual stream, each of the
/// relative size 2^-8 (bf16) or 2^-11 (f16).
#[test]
fn half_precision_is_near_to_f32_in_every_family() {
    for name in ["llama-yarn", "mistral", "qwen2", "qwen3", "gemma3", "gemma3-capped"] {
        let reference = tensors(fixture(&format!("models/{name}/reference.safetensors")));
        for (compute, bound) in
            [(Kind::BFloat16, 24.0 * 2.0_f64.powi(-8)), (Kind::Half, 24.0 * 2.0_f64.powi(-11))]
        {
            let options = OpenOptions { compute, ..OpenOptions::default() };
            let model = CausalLm::open(fixture(&format!("models/{name}")), &options).unwrap();
            let found = logits(&model, &reference["input_ids"]);
            assert_eq!(found.kind(), compute);
            let error = relative_error(&found, &reference["logits"]);
            println!("{name} {compute:?} {error:.2e}");
            assert!(error < bound, "{name} in {compute:?}: relative error {error:.2e}");
        }
    }
}
