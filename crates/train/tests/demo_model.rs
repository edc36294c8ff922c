//! The demo model, a real AWQ checkpoint: its losses are those of transformers, and training it lowers them.
#![allow(clippy::cast_precision_loss, reason = "counts of a test are small")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use qtuner_awq as _;
use qtuner_core::{LoraConfig, inject_adapter};
use qtuner_models::{CausalLm, OpenOptions};
use qtuner_train::data::{Batch, Sample, load};
use qtuner_train::loss::backward;
use qtuner_train::{DataOptions, Dataset, LanguageModel, Tokenizer, TrainConfig, Trainer, evaluate};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

fn assets() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets")
}

/// On one thread: tests run side by side, and threads that wait for each other's cores take many times longer.
fn model() -> CausalLm {
    tch::set_num_threads(1);
    CausalLm::open(assets().join("tiny-kjv-awq"), &OpenOptions::default()).unwrap()
}

fn data(file: &str, eval_fraction: f64, sequence_length: usize) -> (Dataset, Dataset) {
    let mut options = DataOptions::default();
    options.sequence_length = sequence_length;
    options.eval_fraction = eval_fraction;
    let mut tokenizer = Tokenizer::open(assets().join("tiny-kjv-awq")).unwrap();
    let split = load(&assets().join(file), &options, &mut tokenizer).unwrap();
    (split.train, split.eval)
}

/// The mean of the windows' mean losses, computed with transformers in f32 on the dequantized weights, to five decimals.
fn check(dataset: &Dataset, windows: usize, expected: f64) {
    let found = evaluate(&mut model(), dataset, 8, |_| ()).unwrap();
    assert_eq!(found.samples, windows);
    assert_eq!(found.tokens, windows * 255);
    let difference = (found.sample_mean_loss - expected).abs();
    // Half of the last decimal, and the f32 rounding of a loss of this size through six layers.
    assert!(difference <= 0.5e-5 + 100.0 * f64::from(f32::EPSILON), "{found:?}, expected {expected}");
}

#[test]
fn the_losses_are_those_of_transformers() {
    check(&data("shakespeare.txt", 0.05, 256).1, 75, 5.99847);
    check(&data("kjv-tail.txt", 0.0, 256).0, 82, 2.99790);
}

#[test]
fn packed_documents_have_the_loss_that_they_have_alone() {
    let (windows, _) = data("kjv-tail.txt", 0.0, 24);
    let mut model = model();
    let alone: Vec<Sample> = windows.samples()[..4].to_vec();
    let packed = Sample::packed(&alone);
    let alone = evaluate(&mut model, &Dataset::new(alone, 0), 1, |_| ()).unwrap();
    let longer = windows.samples()[4..9].to_vec();
    let longer =
        Sample::window(&longer.iter().flat_map(|sample| sample.tokens().to_vec()).collect::<Vec<_>>());
    let packed = [&packed, &longer]
        .map(|sample| evaluate(&mut model, &Dataset::new(vec![sample.clone()], 0), 1, |_| ()).unwrap());
    assert_eq!((alone.tokens, packed[0].tokens), (4 * 23, 4 * 23));
    let bound = 1e-5 * alone.loss;
    assert!((alone.loss - packed[0].loss).abs() <= bound, "{alone:?} {packed:?}");
    // In one batch with a longer row the packed row is padded.
    let samples = vec![Sample::packed(&windows.samples()[..4]), longer];
    let together = evaluate(&mut model, &Dataset::new(samples, 0), 2, |_| ()).unwrap();
    let sum = packed.iter().map(|row| row.loss * row.tokens as f64).sum::<f64>();
    assert!((together.loss * together.tokens as f64 - sum).abs() <= 1e-5 * sum, "{together:?} {packed:?}");
}

#[test]
fn a_few_steps_lower_the_held_out_loss_and_leave_a_valid_adapter() {
    let (train, eval) = data("shakespeare.txt", 0.002, 64);
    let train = Dataset::new(train.samples()[..64].to_vec(), train.pad());
    let mut model = model();
    tch::manual_seed(1);
    inject_adapter(&mut model, &LoraConfig::new("all-linear").with_rank(8).with_lora_alpha(16), "default")
        .unwrap();
    let before = evaluate(&mut model, &eval, 8, |_| ()).unwrap();
    let output = tempfile::tempdir().unwrap();
    let config = TrainConfig {
        max_steps: Some(6),
        batch_size: 2,
        gradient_accumulation_steps: 2,
        learning_rate: 3e-3,
        ..TrainConfig::default()
    };
    let mut trainer =
        Trainer::new(&mut model, "default", config, train, eval.clone(), output.path()).unwrap();
    let outcome = trainer.run(&mut qtuner_train::trainer::Silent, &AtomicBool::new(false)).unwrap();
    let after = outcome.evaluation.expect("held-out data");
    assert!(after.loss < before.loss - 0.2, "{before} and then {after}");
    let mut fresh = self::model();
    qtuner_core::load_adapter(&mut fresh, output.path(), "default", qtuner_core::Trainability::Frozen)
        .unwrap();
    assert_eq!(evaluate(&mut fresh, &eval, 1, |_| ()).unwrap().samples, after.samples);
    let again = evaluate(&mut fresh, &eval, 1, |_| ()).unwrap();
    assert!((again.loss - after.loss).abs() <= 1e-5 * after.loss, "{again} and {after}");
}

#[test]
fn every_adapter_tensor_gets_a_gradient_through_the_slices() {
    let mut model = model();
    inject_adapter(&mut model, &LoraConfig::new("all-linear").with_rank(4), "default").unwrap();
    let (windows, _) = data("kjv-tail.txt", 0.0, 32);
    let batch = Batch::new(&[&windows.samples()[0]], 0).unwrap();
    backward(&model, &batch, 1.0 / 31.0).unwrap();
    let parameters = qtuner_train::optimizer::trainable_parameters(&model);
    assert_eq!(parameters.len(), 2 * 7 * 6);
    for (name, parameter) in parameters.iter().filter(|(name, _)| name.contains("lora_B")) {
        let norm = parameter.grad().norm().double_value(&[]);
        assert!(norm.is_finite() && norm > 0.0, "{name}: {norm}");
    }
    assert_eq!(LanguageModel::vocab_size(&model), 4096);
}
