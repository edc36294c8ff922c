//! Parameters of f16 and bf16: they are those of f32, rounded, whatever the gradients, and through an interruption.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use qtuner_core::{Bias, Linear, LoraConfig, ModuleTree, Slot, inject_adapter};
use qtuner_train::optimizer::{
    AdamW, AdamWOptions, OptimizerStateError, Parameters, clip_grad_norm, grad_norm, trainable_parameters,
};
use qtuner_train::trainer::Status;
use qtuner_train::{Checkpoint, Event, LanguageModel, ModelError, Outcome, TrainConfig, Trainer};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use support::{HIDDEN, VOCAB, config, no_data, turn_to_draw, windows};
use tch::{Device, Kind, Tensor};

const HALVES: [Kind; 2] = [Kind::Half, Kind::BFloat16];
/// Far below half of the spacing of a parameter of size 1/16 and more.
const SMALL_RATE: f64 = 1e-5;
const DECAY: AdamWOptions = AdamWOptions { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.1 };

/// Values of f32 from -1 to 1.
fn waves(shape: &[i64], offset: f64) -> Tensor {
    let count: i64 = shape.iter().product();
    let angles = Tensor::arange(count, (Kind::Double, Device::Cpu)) * 0.77 + offset;
    angles.cos().to_kind(Kind::Float).reshape(shape)
}

/// A parameter whose values in `kind` have spacings around 2^-11: 50 small steps go some way between two of them.
fn parameter(kind: Kind) -> Tensor {
    let size = if kind == Kind::BFloat16 { 0.0625 } else { 0.5 };
    ((waves(&[40], 0.3) * 0.4 + 1.5) * size).to_kind(kind).set_requires_grad(true)
}

fn one(parameter: &Tensor) -> Parameters {
    Parameters::from([("bias".to_owned(), parameter.shallow_clone())])
}

/// Makes `gradient` the parameter's.
fn backward(parameter: &Tensor, gradient: &Tensor) {
    (parameter * gradient).sum(Kind::Float).backward();
}

fn step(optimizer: &mut AdamW, parameter: &Tensor, gradient: &Tensor, rate: f64) {
    optimizer.zero_grad();
    backward(parameter, gradient);
    optimizer.step(rate).unwrap();
}

fn has_same_bits(one: &Tensor, other: &Tensor) -> bool {
    one.kind() == other.kind() && one.detach().equal(&other.detach())
}

#[test]
fn a_half_precision_parameter_is_the_f32_one_rounded() {
    for kind in HALVES {
        for scale in [1.0, 1e-3, 1e-6] {
            let half = parameter(kind);
            let start = half.detach().copy();
            let full = start.to_kind(Kind::Float).set_requires_grad(true);
            let mut ours = AdamW::new(one(&half), DECAY).unwrap();
            let mut reference = AdamW::new(one(&full), DECAY).unwrap();
            for count in 0..50 {
                let gradient = ((waves(&[40], f64::from(count)) + 1.5) * scale).to_kind(kind);
                step(&mut ours, &half, &gradient, SMALL_RATE);
                step(&mut reference, &full, &gradient.to_kind(Kind::Float), SMALL_RATE);
                assert!(has_same_bits(&half, &full.to_kind(kind)), "{kind:?}, {scale}: step {count}");
            }
            let moved = half.not_equal_tensor(&start).sum(Kind::Int64).int64_value(&[]);
            assert!(moved > 20, "{kind:?}, {scale}: {moved} of 40 moved");
        }
    }
}

#[test]
fn gradients_of_almost_nothing_leave_half_precision_finite_and_none_leave_it_as_it_is() {
    for kind in HALVES {
        for scale in [1e-6, 6e-8, 0.0] {
            let half = parameter(kind);
            let start = half.detach().copy();
            let gradient = (Tensor::ones([40], (Kind::Float, Device::Cpu)) * scale).to_kind(kind);
            let mut optimizer = AdamW::new(one(&half), AdamWOptions::default()).unwrap();
            for _ in 0..50 {
                step(&mut optimizer, &half, &gradient, 1e-3);
            }
            assert!(half.isfinite().all().int64_value(&[]) == 1, "{kind:?}, {scale}");
            assert_eq!(has_same_bits(&half, &start), scale == 0.0, "{kind:?}, {scale}");
        }
    }
}

#[test]
fn a_restored_state_of_half_precision_goes_on_bit_for_bit() {
    for kind in HALVES {
        let straight = parameter(kind);
        let mut optimizer = AdamW::new(one(&straight), DECAY).unwrap();
        let gradient = |count: i32| (waves(&[40], f64::from(count)) + 0.5).to_kind(kind);
        for count in 0..7 {
            step(&mut optimizer, &straight, &gradient(count), SMALL_RATE);
        }
        let bytes = optimizer.to_bytes().unwrap();
        let copied = straight.detach().copy().set_requires_grad(true);
        let mut restored = AdamW::new(one(&copied), DECAY).unwrap();
        restored.restore(&bytes).unwrap();
        assert!(restored.to_bytes().unwrap() == bytes, "{kind:?}");
        for count in 7..50 {
            step(&mut optimizer, &straight, &gradient(count), SMALL_RATE);
            step(&mut restored, &copied, &gradient(count), SMALL_RATE);
            assert!(has_same_bits(&straight, &copied), "{kind:?}: step {count}");
        }
        assert!(restored.to_bytes().unwrap() == optimizer.to_bytes().unwrap(), "{kind:?}");
    }
}

#[test]
fn an_f32_parameter_is_moved_itself_by_the_same_operations() {
    let AdamWOptions { beta1, beta2, epsilon, weight_decay } = DECAY;
    let start = waves(&[40], 0.3);
    let parameter = start.copy().set_requires_grad(true);
    let mut optimizer = AdamW::new(one(&parameter), DECAY).unwrap();
    let (mut value, mut mean, mut square) = (start.copy(), start.zeros_like(), start.zeros_like());
    for count in 1..=50 {
        let gradient = waves(&[40], f64::from(count));
        step(&mut optimizer, &parameter, &gradient, 1e-3);
        value *= 1.0 - 1e-3 * weight_decay;
        let _ = mean.lerp_(&gradient, 1.0 - beta1);
        square = square * beta2 + (&gradient * (1.0 - beta2)) * &gradient;
        let corrections = (1.0 - beta1.powf(f64::from(count)), (1.0 - beta2.powf(f64::from(count))).sqrt());
        value += (&mean * (-1e-3 / corrections.0)) / (square.sqrt() / corrections.1 + epsilon);
        assert!(has_same_bits(&parameter, &value), "step {count}");
    }
    let bytes = optimizer.to_bytes().unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut names = file.names();
    names.sort_unstable();
    assert_eq!(names, ["exp_avg.bias", "exp_avg_sq.bias", "step"]);
}

#[test]
fn a_state_without_f32_values_of_half_precision_is_refused_by_name() {
    for (kind, dtype) in [(Kind::Half, Dtype::F16), (Kind::BFloat16, Dtype::BF16)] {
        let zeros = [0; 80];
        let moments = || TensorView::new(dtype, vec![40], &zeros).unwrap();
        let count = TensorView::new(Dtype::I64, vec![1], &zeros[..8]).unwrap();
        let tensors = [("exp_avg.bias", moments()), ("exp_avg_sq.bias", moments()), ("step", count)];
        let bytes = safetensors::serialize(tensors, None).unwrap();
        let mut optimizer = AdamW::new(one(&parameter(kind)), DECAY).unwrap();
        let error = optimizer.restore(&bytes).unwrap_err();
        assert!(matches!(&error, OptimizerStateError::HalfPrecision { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(&format!("`exp_avg.bias` is {dtype:?}")) && text.contains("anew"), "{text}");
    }
}

#[test]
fn clipping_half_precision_limits_a_norm_whose_square_is_beyond_it() {
    for kind in HALVES {
        let parameter = parameter(kind);
        backward(&parameter, &Tensor::full([40], 6e4, (kind, Device::Cpu)));
        let parameters = one(&parameter);
        let norm = grad_norm(&parameters).unwrap();
        let expected = parameter.grad().to_kind(Kind::Double).norm().double_value(&[]);
        assert!((norm / expected - 1.0).abs() < 1e-6, "{kind:?}: {norm}, expected {expected}");
        clip_grad_norm(&parameters, norm, 1.0).unwrap();
        let clipped = grad_norm(&parameters).unwrap();
        let spacing = if kind == Kind::Half { 1.0 / 2048.0 } else { 1.0 / 256.0 };
        assert!((clipped - 1.0).abs() <= spacing, "{kind:?}: {clipped}");
    }
}

/// A model whose base, biases included, is of half precision.
#[derive(ModuleTree)]
struct HalfToy {
    embedding: Tensor,
    mix: Slot,
    #[module(head)]
    head: Slot,
}

impl HalfToy {
    fn base(kind: Kind) -> Self {
        tch::set_num_threads(1);
        let tensor = |shape: &[i64], offset| waves(shape, offset).to_kind(kind);
        let slot = |rows: i64, offset| {
            let bias = tensor(&[rows], offset + 1.0);
            Slot::from(Linear::new(tensor(&[rows, HIDDEN], offset), Some(bias)).unwrap())
        };
        Self { embedding: tensor(&[VOCAB, HIDDEN], 0.1), mix: slot(HIDDEN, 0.5), head: slot(VOCAB, 0.9) }
    }
}

impl LanguageModel for HalfToy {
    fn hidden_states(&self, tokens: &Tensor, _segments: Option<&Tensor>) -> Result<Tensor, ModelError> {
        let embedded = Tensor::embedding(&self.embedding, tokens, -1, false, false);
        Ok(self.mix.forward(&embedded)?.tanh())
    }

    fn logits(&self, hidden: &Tensor) -> Result<Tensor, ModelError> {
        Ok(self.head.forward(hidden)?)
    }

    fn vocab_size(&self) -> i64 {
        VOCAB
    }
}

/// Trains an adapter and all biases, or goes on from the newest checkpoint; stops after `stop_after` steps. The biases at the
/// end come with the outcome.
fn train_biases(output: &Path, kind: Kind, stop_after: u64) -> (Outcome, Parameters) {
    let _turn = turn_to_draw();
    tch::manual_seed(5);
    let checkpoint = Checkpoint::newest(output).unwrap();
    let mut model = HalfToy::base(kind);
    if let Some(checkpoint) = &checkpoint {
        checkpoint.load_adapter(&mut model, "default").unwrap();
    } else {
        let lora = LoraConfig::new(["mix"]).with_rank(3).with_bias(Bias::All);
        inject_adapter(&mut model, &lora, "default").unwrap();
    }
    let mut biases = trainable_parameters(&model);
    biases.retain(|_, tensor| tensor.kind() == kind);
    let config = TrainConfig { learning_rate: 1e-4, warmup_steps: Some(0), ..config(12) };
    let mut trainer = Trainer::new(&mut model, "default", config, windows(11, 9), no_data(), output).unwrap();
    if let Some(checkpoint) = &checkpoint {
        trainer.resume(checkpoint).unwrap();
    }
    let stop = AtomicBool::new(false);
    let mut watch = |event: &Event<'_>| {
        if let Event::Step(metrics) = event {
            stop.store(metrics.step >= stop_after, Ordering::Relaxed);
        }
    };
    (trainer.run(&mut watch, &stop).unwrap(), biases)
}

#[test]
fn an_interrupted_run_over_half_precision_biases_ends_with_the_same_bits() {
    for kind in HALVES {
        let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (outcome, biases) = train_biases(whole.path(), kind, u64::MAX);
        assert_eq!((outcome.status, biases.len()), (Status::Finished, 2), "{kind:?}");
        let is_finite = |bias: &Tensor| bias.isfinite().all().int64_value(&[]) == 1;
        assert!(biases.values().all(is_finite), "{kind:?}");
        for stop in [1, 5] {
            assert_eq!(train_biases(parts.path(), kind, stop).0.status, Status::Stopped);
        }
        let (_, resumed) = train_biases(parts.path(), kind, u64::MAX);
        assert!(biases.iter().all(|(name, bias)| has_same_bits(bias, &resumed[name])), "{kind:?}");
        for file in ["adapter_model.safetensors", "checkpoint-12/optimizer.safetensors"] {
            let read = |output: &Path| fs::read(output.join(file)).unwrap();
            assert!(read(whole.path()) == read(parts.path()), "{kind:?}: {file}");
        }
    }
}
