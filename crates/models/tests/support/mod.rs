//! What the tests share: fixtures, and the comparison of tensors.
#![allow(dead_code, reason = "every test takes what it needs")]

pub(crate) mod file;

use qtuner_models::{CausalLm, ModelInput, OpenOptions};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tch::{Kind, Tensor};

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name)
}

pub(crate) fn tensors(path: impl AsRef<Path>) -> BTreeMap<String, Tensor> {
    Tensor::read_safetensors(path).unwrap().into_iter().collect()
}

pub(crate) fn open(name: &str) -> CausalLm {
    CausalLm::open(fixture(name), &OpenOptions::default()).unwrap()
}

pub(crate) fn logits(model: &CausalLm, tokens: &Tensor) -> Tensor {
    model.logits(&model.hidden_states(&ModelInput::new(tokens)).unwrap()).unwrap()
}

/// The largest difference, relative to the largest expected value.
pub(crate) fn relative_error(found: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(found.size(), expected.size());
    let (found, expected) = (found.to_kind(Kind::Double), expected.to_kind(Kind::Double));
    ((&found - &expected).abs().max() / expected.abs().max()).double_value(&[])
}

#[track_caller]
pub(crate) fn assert_close(what: &str, found: &Tensor, expected: &Tensor, bound: f64) {
    let error = relative_error(found, expected);
    println!("{what}: relative error {error:.2e}");
    assert!(error <= bound, "{what}: relative error {error:.2e}, expected at most {bound:.0e}");
}
