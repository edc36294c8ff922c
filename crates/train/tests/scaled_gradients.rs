//! Gradients of f16 are those of f32, however many targets share a step.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use qtuner_core::{Linear, LoraConfig, ModuleTree, Slot, inject_adapter};
use qtuner_train::trainer::Silent;
use qtuner_train::{LanguageModel, ModelError, TrainConfig, Trainer};
use support::{HIDDEN, VOCAB, config, no_data, turn_to_draw, windows};
use tch::{Device, Kind, Tensor};

/// Two layers, the first with the adapter, in any dtype: its weights are numbers of f16.
#[derive(ModuleTree)]
struct Model {
    embedding: Tensor,
    mix: Slot,
    #[module(head)]
    head: Slot,
    /// Embeddings are small by this, and the first layer's output is made as much larger, and so is the gradient.
    #[module(skip)]
    gain: f64,
}

impl Model {
    fn new(kind: Kind, gain: f64) -> Self {
        tch::set_num_threads(1);
        let tensor = |rows: i64, offset: f64, size: f64| {
            let angles = Tensor::arange(rows * HIDDEN, (Kind::Double, Device::Cpu)) * 0.77 + offset;
            (angles.cos() * size).to_kind(Kind::Half).to_kind(kind).view([rows, HIDDEN])
        };
        let slot = |rows, offset| Slot::from(Linear::new(tensor(rows, offset, 1.0), None).unwrap());
        Self {
            embedding: tensor(VOCAB, 0.1, 0.1 / gain),
            mix: slot(HIDDEN, 0.5),
            head: slot(VOCAB, 0.9),
            gain,
        }
    }
}

impl LanguageModel for Model {
    fn hidden_states(&self, tokens: &Tensor, _segments: Option<&Tensor>) -> Result<Tensor, ModelError> {
        let embedded = Tensor::embedding(&self.embedding, tokens, -1, false, false);
        Ok((self.mix.forward(&embedded)? * self.gain).tanh())
    }

    fn logits(&self, hidden: &Tensor) -> Result<Tensor, ModelError> {
        Ok(self.head.forward(hidden)?)
    }

    fn vocab_size(&self) -> i64 {
        VOCAB
    }
}

/// The gradients of the adapter's B in a step of so many batches of 50 targets each, from the moments after it.
fn gradients(kind: Kind, batches: usize, gain: f64) -> Tensor {
    let _turn = turn_to_draw();
    tch::manual_seed(3);
    let output = tempfile::tempdir().unwrap();
    let mut model = Model::new(kind, gain);
    inject_adapter(&mut model, &LoraConfig::new(["mix"]).with_rank(3), "default").unwrap();
    let config =
        TrainConfig { batch_size: 10, gradient_accumulation_steps: batches, max_grad_norm: 0.0, ..config(1) };
    let mut trainer =
        Trainer::new(&mut model, "default", config, windows(10, 6), no_data(), output.path()).unwrap();
    trainer.run(&mut Silent, &false.into()).unwrap();
    let moments = Tensor::read_safetensors(output.path().join("checkpoint-1/optimizer.safetensors")).unwrap();
    let is_wanted = |name: &str| name.starts_with("exp_avg.") && name.contains("lora_B");
    moments.into_iter().find(|(name, _)| is_wanted(name)).unwrap().1
}

/// How far `found` is from `expected`, as a part of its norm.
fn distance(found: &Tensor, expected: &Tensor) -> f64 {
    ((found - expected).norm() / expected.norm()).double_value(&[])
}

/// Each of some ten roundings to 11 bits moves a gradient by 2^-11 at most.
const ROUNDINGS: f64 = 10.0 / 2048.0;

#[test]
fn in_f16_they_do_not_vanish_as_a_step_grows() {
    let exact = gradients(Kind::Float, 1, 1.0);
    for batches in [1, 4000] {
        let off = distance(&gradients(Kind::Half, batches, 1.0), &exact);
        assert!(off < ROUNDINGS, "{batches} batches: {off}");
    }
}

#[test]
fn in_f16_they_are_made_again_with_a_smaller_scale_where_they_overflow() {
    // The embeddings, of some 1e-5, have few bits, but the same ones in both.
    let exact = gradients(Kind::Float, 1, 1.0e4);
    let off = distance(&gradients(Kind::Half, 1, 1.0e4), &exact);
    assert!(off < ROUNDINGS, "{off}");
}
