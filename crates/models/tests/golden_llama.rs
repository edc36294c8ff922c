//! AutoAWQ's Llama checkpoint and PEFT's adapter for it, against the numbers of the Python packages.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use qtuner_awq as _;

mod support;

use qtuner_core::{Trainability, load_adapter, model};
use qtuner_models::{CausalLm, ModelInput};
use std::collections::BTreeMap;
use support::{assert_close, fixture, logits, open, tensors};
use tch::nn::{self, OptimizerConfig};
use tch::{Kind, Tensor};

fn reference() -> BTreeMap<String, Tensor> {
    tensors(fixture("llama-awq-reference.safetensors"))
}

/// The reference has no ids, but the first hidden states, which are their rows of the embedding.
fn input_ids() -> Tensor {
    let embedding = &tensors(fixture("llama-awq/model.safetensors"))["model.embed_tokens.weight"];
    let hidden = &reference()["base.hidden_f32.0"];
    let distance = (hidden.unsqueeze(2) - embedding.to_kind(Kind::Float)).abs().amax([-1_i64], false);
    assert_eq!(distance.amin([-1_i64], false).max().double_value(&[]).to_bits(), 0);
    distance.argmin(-1, false)
}

fn with_adapter(trainability: Trainability) -> CausalLm {
    let mut model = open("llama-awq");
    load_adapter(&mut model, fixture("llama-awq-adapter"), "default", trainability).unwrap();
    model
}

/// The mean over all next tokens, as in transformers.
fn loss(model: &CausalLm, ids: &Tensor) -> Tensor {
    let logits = logits(model, ids);
    let time = ids.size()[1];
    let predictions = logits.narrow(1, 0, time - 1).reshape([-1, model.vocab_size()]);
    predictions.cross_entropy_for_logits(&ids.narrow(1, 1, time - 1).reshape([-1]))
}

#[test]
fn the_base_has_the_references_hidden_states_and_logits() {
    let (model, reference, ids) = (open("llama-awq"), reference(), input_ids());
    let hidden = model.hidden_states(&ModelInput::new(&ids)).unwrap();
    assert_close("hidden states", &hidden, &reference["base.hidden_f32.2"], 2e-5);
    assert_close("logits", &logits(&model, &ids), &reference["base.logits_f32"], 2e-5);
}

#[test]
fn the_adapter_has_the_references_logits() {
    let model = with_adapter(Trainability::Frozen);
    assert_close("logits", &logits(&model, &input_ids()), &reference()["adapter.logits_f32"], 2e-5);
}

#[test]
fn the_loss_and_the_gradients_of_all_adapter_tensors_are_the_references() {
    let (model, reference) = (with_adapter(Trainability::Trainable), reference());
    let loss = loss(&model, &input_ids());
    assert_close("loss", &loss.view([1]), &reference["adapter.loss"], 1e-5);
    loss.backward();
    let parameters = model::var_store(&model).unwrap().variables();
    assert_eq!(parameters.len(), 28);
    for (name, parameter) in parameters.into_iter().collect::<BTreeMap<_, _>>() {
        let expected = &reference[&format!("adapter.grad.base_model.model.{name}")];
        assert_close(&name, &parameter.grad(), expected, 1e-4);
    }
}

#[test]
fn six_steps_of_adamw_have_the_references_losses() {
    let (model, ids) = (with_adapter(Trainability::Trainable), input_ids());
    let store = model::var_store(&model).unwrap();
    let mut optimizer = nn::AdamW { wd: 0.01, ..nn::AdamW::default() }.build(&store, 1e-2).unwrap();
    let losses: Vec<f64> = (0..6)
        .map(|_| {
            let loss = loss(&model, &ids);
            optimizer.backward_step(&loss);
            loss.double_value(&[])
        })
        .collect();
    assert_close("losses", &Tensor::from_slice(&losses), &reference()["adapter.train_losses"], 1e-4);
}
