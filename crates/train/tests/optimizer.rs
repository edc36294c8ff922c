//! AdamW against libtorch's own, its saved state, clipping, and the guard against values that are not finite.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use proptest::prelude::*;
use qtuner_train::optimizer::{AdamW, AdamWOptions, Parameters, clip_grad_norm, grad_norm};
use qtuner_train::{Event, TrainConfig, TrainError, Trainer};
use std::sync::atomic::{AtomicBool, Ordering};
use support::{Toy, config, no_data, windows};
use tch::nn::{self, OptimizerConfig};
use tch::{Device, Kind, Tensor};

const EPS: f64 = f32::EPSILON as f64;

fn values(shape: &[i64], offset: f64) -> Tensor {
    let count: i64 = shape.iter().product();
    let angles = Tensor::arange(count, (Kind::Double, Device::Cpu)) * 0.77 + offset;
    angles.cos().to_kind(Kind::Float).reshape(shape)
}

fn parameters() -> Parameters {
    let names = ["b", "a"].iter().zip([vec![3, 4], vec![5]]);
    names.map(|(name, shape)| ((*name).to_owned(), values(&shape, 0.3).set_requires_grad(true))).collect()
}

/// Gradients that differ from step to step: those of `sum(p * c)` are `c`.
fn backward(parameters: &Parameters, step: u32) {
    for parameter in parameters.values() {
        (parameter * values(&parameter.size(), f64::from(step) * 1.3)).sum(Kind::Float).backward();
    }
}

#[test]
fn steps_are_those_of_libtorchs_adamw() {
    let options = AdamWOptions { weight_decay: 0.1, ..AdamWOptions::default() };
    let ours = parameters();
    let mut optimizer = AdamW::new(ours.clone_handles(), options).unwrap();
    let store = nn::VarStore::new(Device::Cpu);
    let theirs: Parameters = parameters()
        .into_iter()
        .map(|(name, value)| {
            let place = store.root().var_copy(&name, &value);
            (name, place)
        })
        .collect();
    let libtorch = nn::AdamW { beta1: 0.9, beta2: 0.999, wd: 0.1, eps: 1e-8, amsgrad: false };
    let mut reference = libtorch.build(&store, 1e-2).unwrap();
    for step in 0..50 {
        let rate = 1e-2 / f64::from(step + 1);
        optimizer.zero_grad();
        backward(&ours, step);
        optimizer.step(rate).unwrap();
        reference.zero_grad();
        backward(&theirs, step);
        reference.set_lr(rate);
        reference.step();
    }
    for (name, ours) in &ours {
        // Each step rounds a value of size 1 a handful of times.
        let difference = (ours - &theirs[name]).abs().max().double_value(&[]);
        assert!(difference <= 50.0 * 4.0 * EPS, "{name}: {difference}");
    }
}

/// Second handles on the same parameters.
trait CloneHandles {
    fn clone_handles(&self) -> Self;
}

impl CloneHandles for Parameters {
    fn clone_handles(&self) -> Self {
        self.iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone())).collect()
    }
}

#[test]
fn a_restored_state_goes_on_bit_for_bit_and_gives_the_same_bytes() {
    let straight = parameters();
    let mut optimizer = AdamW::new(straight.clone_handles(), AdamWOptions::default()).unwrap();
    for step in 0..3 {
        optimizer.zero_grad();
        backward(&straight, step);
        optimizer.step(1e-2).unwrap();
    }
    let bytes = optimizer.to_bytes().unwrap();
    let copied: Parameters = straight
        .iter()
        .map(|(name, tensor)| (name.clone(), tensor.detach().copy().set_requires_grad(true)))
        .collect();
    let mut restored = AdamW::new(copied.clone_handles(), AdamWOptions::default()).unwrap();
    restored.restore(&bytes).unwrap();
    assert_eq!((restored.steps(), restored.to_bytes().unwrap()), (3, bytes));
    for (optimizer, parameters) in [(&mut optimizer, &straight), (&mut restored, &copied)] {
        optimizer.zero_grad();
        backward(parameters, 3);
        optimizer.step(1e-2).unwrap();
    }
    assert!(straight.iter().all(|(name, tensor)| tensor.equal(&copied[name])));
}

#[test]
fn a_state_of_other_parameters_is_refused_and_changes_nothing() {
    let mut optimizer = AdamW::new(parameters(), AdamWOptions::default()).unwrap();
    let before = optimizer.to_bytes().unwrap();
    let mut fewer = parameters();
    fewer.remove("a");
    let fewer = AdamW::new(fewer, AdamWOptions::default()).unwrap().to_bytes().unwrap();
    let mut more = parameters();
    more.insert("c".to_owned(), values(&[2], 0.0).set_requires_grad(true));
    let more = AdamW::new(more, AdamWOptions::default()).unwrap().to_bytes().unwrap();
    let mut reshaped = parameters();
    reshaped.insert("a".to_owned(), values(&[6], 0.0).set_requires_grad(true));
    let reshaped = AdamW::new(reshaped, AdamWOptions::default()).unwrap().to_bytes().unwrap();
    for (bytes, words) in [
        (fewer.as_slice(), "`exp_avg.a` is missing"),
        (more.as_slice(), "`exp_avg.c` is there"),
        (reshaped.as_slice(), "[6]"),
        (&before[..before.len() - 1], "not a whole safetensors file"),
        (b"", "not a whole safetensors file"),
    ] {
        let error = optimizer.restore(bytes).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        assert!(optimizer.to_bytes().unwrap() == before, "{words}");
    }
}

proptest! {
    #[test]
    fn clipping_limits_the_norm_and_keeps_the_direction(scale in 0.01f64..100.0, limit in 0.01f64..100.0) {
        let parameters = parameters();
        for parameter in parameters.values() {
            (parameter * scale).sum(Kind::Float).backward();
        }
        let norm = grad_norm(&parameters).unwrap();
        let elements = 17.0f64;
        prop_assert!((norm - scale * elements.sqrt()).abs() <= elements * EPS * norm);
        clip_grad_norm(&parameters, norm, limit).unwrap();
        let clipped = grad_norm(&parameters).unwrap();
        let expected = norm * (limit / (norm + 1e-6)).min(1.0);
        prop_assert!((clipped - expected).abs() <= elements * EPS * norm);
    }
}

#[test]
fn a_loss_that_is_no_number_stops_the_run_before_the_step_and_names_the_last_checkpoint() {
    let output = tempfile::tempdir().unwrap();
    let mut model = Toy::adapted(0.0);
    let config = TrainConfig { save_every: 2, learning_rate: 1e38, max_grad_norm: 0.0, ..config(30) };
    let mut trainer =
        Trainer::new(&mut model, "default", config, windows(6, 8), no_data(), output.path()).unwrap();
    let error = trainer.run(&mut qtuner_train::trainer::Silent, &AtomicBool::new(false)).unwrap_err();
    let TrainError::NotFinite { step, last_checkpoint, .. } = &error else { panic!("{error}") };
    let checkpoint = last_checkpoint.as_ref().expect("one from before");
    let checkpoint = qtuner_train::Checkpoint::open(checkpoint).expect("a whole one");
    assert!(checkpoint.state().global_step < *step);
    assert!(error.to_string().contains("lower `learning_rate`"), "{error}");
}

#[test]
fn events_come_in_the_order_of_the_run() {
    let output = tempfile::tempdir().unwrap();
    let mut model = Toy::adapted(0.0);
    let config = TrainConfig { save_every: 2, ..config(3) };
    let mut trainer =
        Trainer::new(&mut model, "default", config, windows(6, 8), windows(2, 5), output.path()).unwrap();
    let mut seen = Vec::new();
    let mut watch = |event: &Event<'_>| {
        seen.push(match event {
            Event::Started { plan, step } => format!("started {step}/{}", plan.steps),
            Event::Step(metrics) => format!("step {}", metrics.step),
            Event::Evaluating { samples, total } => format!("evaluating {samples}/{total}"),
            Event::Evaluated { step, .. } => format!("evaluated {step}"),
            Event::Saved { step, .. } => format!("saved {step}"),
            Event::Finished(outcome) => format!("finished {}", outcome.step),
            _ => "another".to_owned(),
        });
    };
    trainer.run(&mut watch, &AtomicBool::new(false)).unwrap();
    let expected =
        "started 0/3, step 1, step 2, saved 2, step 3, evaluating 2/2, evaluated 3, saved 3, finished 3";
    assert_eq!(seen.join(", "), expected);
    let stop = AtomicBool::new(false);
    stop.store(true, Ordering::Relaxed);
    let outcome = trainer.run(&mut qtuner_train::trainer::Silent, &stop).unwrap();
    assert_eq!(outcome.step, 3);
}

#[test]
fn what_cannot_train_is_refused_by_name() {
    let output = tempfile::tempdir().unwrap();
    let check = |mut model: Toy, config: TrainConfig, data, words: &str| {
        let error = Trainer::new(&mut model, "default", config, data, no_data(), output.path());
        let error = error.map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    check(Toy::base(support::VOCAB), config(1), windows(2, 5), "no parameter trains");
    check(Toy::adapted(0.0), config(1), no_data(), "no sample");
    check(Toy::adapted(0.0), TrainConfig { batch_size: 0, ..config(1) }, windows(2, 5), "`batch_size` is 0");
    let foreign = qtuner_train::Dataset::new(vec![qtuner_train::data::Sample::window(&[1, 99])], 0);
    check(Toy::adapted(0.0), config(1), foreign, "tokens up to 99, the model has 23");
}
