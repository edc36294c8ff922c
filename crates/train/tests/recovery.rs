//! What goes wrong beside a run's steps, and what is left of the run.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use qtuner_core::{Bias, LoraConfig, ModuleTree, Trainability, inject_adapter, load_adapter, save_adapter};
use qtuner_train::data::Sample;
use qtuner_train::metrics::{self, Record};
use qtuner_train::optimizer::trainable_parameters;
use qtuner_train::trainer::{Silent, Status};
use qtuner_train::{Checkpoint, Dataset, LanguageModel, ModelError, TrainConfig, TrainError, Trainer};
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use support::{Toy, config, no_data, train, turn_to_draw, windows};
use tch::{Device, Kind, Tensor};

/// A token that its model has no number for.
const BAD: u32 = 22;

#[derive(ModuleTree)]
struct Poisoned {
    inner: Toy,
}

impl LanguageModel for Poisoned {
    fn hidden_states(&self, tokens: &Tensor, segments: Option<&Tensor>) -> Result<Tensor, ModelError> {
        let hidden = self.inner.hidden_states(tokens, segments)?;
        let is_bad = tokens.eq(i64::from(BAD)).unsqueeze(-1);
        Ok(hidden.masked_fill(&is_bad, f64::NAN))
    }

    fn logits(&self, hidden: &Tensor) -> Result<Tensor, ModelError> {
        self.inner.logits(hidden)
    }

    fn vocab_size(&self) -> i64 {
        self.inner.vocab_size
    }
}

/// A model with a bias beside its layers.
#[derive(ModuleTree)]
struct Biased {
    inner: Toy,
    bias: Tensor,
}

impl LanguageModel for Biased {
    fn hidden_states(&self, tokens: &Tensor, segments: Option<&Tensor>) -> Result<Tensor, ModelError> {
        self.inner.hidden_states(tokens, segments)
    }

    fn logits(&self, hidden: &Tensor) -> Result<Tensor, ModelError> {
        self.inner.logits(hidden)
    }

    fn vocab_size(&self) -> i64 {
        self.inner.vocab_size
    }
}

#[test]
fn an_evaluation_that_is_no_number_is_never_the_best_and_the_run_goes_on_from_there() {
    let output = tempfile::tempdir().unwrap();
    let config = TrainConfig { eval_every: Some(2), ..config(6) };
    let data = || Dataset::new((0..8).map(|start| Sample::window(&[start, 3, 5, 7])).collect(), 0);
    let held_out = Dataset::new(vec![Sample::window(&[1, 2, BAD, 4])], 0);
    let run = |stop_after: u64| {
        let _turn = turn_to_draw();
        let checkpoint = Checkpoint::newest(output.path()).unwrap();
        let inner = if checkpoint.is_some() { Toy::base(support::VOCAB) } else { Toy::adapted(0.0) };
        let mut model = Poisoned { inner };
        if let Some(checkpoint) = &checkpoint {
            checkpoint.load_adapter(&mut model, "default").unwrap();
        }
        let mut trainer =
            Trainer::new(&mut model, "default", config.clone(), data(), held_out.clone(), output.path())
                .unwrap();
        if let Some(checkpoint) = &checkpoint {
            trainer.resume(checkpoint).unwrap();
        }
        let stop = AtomicBool::new(false);
        let mut watch = |event: &qtuner_train::Event<'_>| {
            if let qtuner_train::Event::Step(step) = event {
                stop.store(step.step >= stop_after, std::sync::atomic::Ordering::Relaxed);
            }
        };
        trainer.run(&mut watch, &stop).unwrap()
    };
    assert_eq!(run(3).step, 3);
    let outcome = run(u64::MAX);
    assert_eq!((outcome.status, outcome.best), (Status::Finished, None));
    assert!(outcome.evaluation.unwrap().loss.is_nan());
    assert!(!output.path().join("best.json").exists());
    let records = metrics::read(output.path()).unwrap();
    let evaluations = records.iter().filter(|record| matches!(record, Record::Evaluation { .. }));
    assert_eq!(evaluations.count(), 3, "those of both processes");
}

#[test]
fn a_state_that_holds_a_best_evaluation_without_a_number_is_read_as_without_one() {
    let output = tempfile::tempdir().unwrap();
    train(output.path(), &config(4), 2).unwrap();
    let file = output.path().join("checkpoint-2/trainer_state.json");
    let mut state: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let mut check = |best: serde_json::Value, expected: Option<u64>| {
        state["best"] = best;
        fs::write(&file, state.to_string()).unwrap();
        let newest = Checkpoint::newest(output.path()).unwrap().unwrap();
        assert_eq!(newest.state().best.map(|best| best.step), expected);
    };
    check(serde_json::json!({ "step": 2, "eval_loss": null }), None);
    check(serde_json::json!({ "step": 2, "eval_loss": 0.5 }), Some(2));
    check(serde_json::Value::Null, None);
}

#[test]
fn damaged_checkpoints_of_later_steps_do_not_crowd_out_the_runs_own() {
    let output = tempfile::tempdir().unwrap();
    let config = |save_every, keep_last| TrainConfig { save_every, keep_last, ..config(20) };
    train(output.path(), &config(4, 3), 12).unwrap();
    for step in [8, 12] {
        fs::write(output.path().join(format!("checkpoint-{step}/optimizer.safetensors")), "").unwrap();
    }
    let outcome = train(output.path(), &config(1, 2), 6).unwrap();
    assert_eq!(outcome.step, 6);
    Checkpoint::open(&outcome.checkpoint).unwrap();
    assert_eq!(Checkpoint::newest(output.path()).unwrap().unwrap().state().global_step, 6);
    let outcome = train(output.path(), &config(1, 2), 13).unwrap();
    assert_eq!(outcome.step, 13);
    let left = |step: u64| output.path().join(format!("checkpoint-{step}")).exists();
    assert_eq!([6, 8, 11, 12, 13].map(left), [false, false, false, true, true]);
    Checkpoint::open(output.path().join("checkpoint-12")).unwrap();
}

#[test]
fn the_best_checkpoint_is_marked_by_the_process_that_goes_on() {
    let output = tempfile::tempdir().unwrap();
    let config = TrainConfig { eval_every: Some(1), ..config(3) };
    train(output.path(), &config, u64::MAX).unwrap();
    let pointer = output.path().join("best.json");
    let expected = fs::read(&pointer).unwrap();
    fs::remove_file(&pointer).unwrap();
    train(output.path(), &config, u64::MAX).unwrap();
    assert_eq!(fs::read(&pointer).unwrap(), expected);
}

#[test]
fn a_run_does_not_go_on_in_the_folder_of_another() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    train(one.path(), &config(4), 2).unwrap();
    train(other.path(), &config(4), 3).unwrap();
    let _turn = turn_to_draw();
    let go_on = |output: &Path| {
        let checkpoint = Checkpoint::newest(one.path()).unwrap().unwrap();
        let mut model = Toy::base(support::VOCAB);
        checkpoint.load_adapter(&mut model, "default").unwrap();
        let (data, held_out) = (windows(11, 9), windows(3, 7));
        let mut trainer = Trainer::new(&mut model, "default", config(4), data, held_out, output)?;
        trainer.resume(&checkpoint)?;
        trainer.run(&mut Silent, &false.into())
    };
    let error = go_on(other.path()).unwrap_err();
    assert!(matches!(error, TrainError::Occupied { checkpoints: 1, .. }), "{error}");
    assert!(other.path().join("checkpoint-3").exists());
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(go_on(empty.path()).unwrap().status, Status::Finished);
    // The same folder by another way.
    let name = one.path().file_name().unwrap();
    assert_eq!(go_on(&one.path().join("..").join(name)).unwrap().status, Status::Finished);
}

#[test]
fn only_an_adapter_that_trains_is_trained_and_saved() {
    let _turn = turn_to_draw();
    let output = tempfile::tempdir().unwrap();
    let mut model = Toy::adapted(0.0);
    inject_adapter(&mut model, &LoraConfig::new(["mix"]).with_rank(2), "second").unwrap();
    for name in ["second", "unheard"] {
        let error = Trainer::new(&mut model, name, config(2), windows(5, 6), no_data(), output.path())
            .err()
            .expect(name);
        let text = error.to_string();
        assert!(matches!(error, TrainError::AdapterDoesNotTrain { .. }), "{text}");
        assert!(text.contains(name) && text.contains("[\"default\"] active of"), "{text}");
    }
    // Active and frozen, beside an adapter whose biases train.
    let folder = tempfile::tempdir().unwrap();
    save_adapter(&model, "default", folder.path()).unwrap();
    let mut model = Toy::base(support::VOCAB);
    load_adapter(&mut model, folder.path(), "frozen", Trainability::Frozen).unwrap();
    let mut model = Biased { inner: model, bias: Tensor::zeros([3], (Kind::Float, Device::Cpu)) };
    let biases = LoraConfig::new(["mix"]).with_bias(Bias::All);
    inject_adapter(&mut model, &biases, "biases").unwrap();
    assert_eq!(trainable_parameters(&model).len(), 1, "the bias");
    let error = Trainer::new(&mut model, "frozen", config(2), windows(5, 6), no_data(), output.path()).err();
    assert!(matches!(error, Some(TrainError::AdapterDoesNotTrain { .. })), "{error:?}");
}
