//! Stopping, going on, and what is kept.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use proptest::prelude::*;
use qtuner_train::metrics::{self, Record};
use qtuner_train::trainer::Status;
use qtuner_train::{Checkpoint, TrainConfig, TrainError};
use std::fs;
use std::path::Path;
use support::{config, train};

const RESULTS: [&str; 2] = ["adapter_model.safetensors", "adapter_config.json"];

fn results(output: &Path) -> Vec<Vec<u8>> {
    RESULTS.iter().map(|name| fs::read(output.join(name)).expect("a result")).collect()
}

fn checkpoints(output: &Path) -> Vec<String> {
    let names = fs::read_dir(output).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.contains("checkpoint")).collect();
    names.sort();
    names
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]

    #[test]
    fn an_interrupted_run_ends_with_the_same_bits(stops in prop::collection::btree_set(0u64..12, 0..4), every in 1u64..15) {
        let config = TrainConfig { save_every: every, eval_every: Some(3), ..config(12) };
        let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let expected = train(whole.path(), &config, u64::MAX).unwrap();
        for stop in stops {
            let outcome = train(parts.path(), &config, stop).unwrap();
            prop_assert_eq!(outcome.status, Status::Stopped);
        }
        let found = train(parts.path(), &config, u64::MAX).unwrap();
        prop_assert!(results(whole.path()) == results(parts.path()), "the adapters differ");
        prop_assert_eq!((found.best, found.status), (expected.best, Status::Finished));
        let optimizer = |output: &Path| fs::read(output.join("checkpoint-12/optimizer.safetensors")).unwrap();
        prop_assert!(optimizer(whole.path()) == optimizer(parts.path()), "the optimizers differ");
        let losses = |output: &Path| -> Vec<(u64, f64)> {
            let records = metrics::read(output).unwrap().into_iter();
            records
                .map(|record| match record {
                    Record::Step(step) => (step.step, step.loss),
                    Record::Evaluation { step, evaluation } => (step, evaluation.loss),
                })
                .collect()
        };
        prop_assert_eq!(losses(whole.path()), losses(parts.path()));
    }
}

#[test]
fn training_lowers_the_loss() {
    let output = tempfile::tempdir().unwrap();
    let config = TrainConfig { learning_rate: 3e-2, eval_on_start: true, ..config(40) };
    train(output.path(), &config, u64::MAX).unwrap();
    let records = metrics::read(output.path()).unwrap();
    let evaluations: Vec<f64> = records
        .iter()
        .filter_map(|record| match record {
            Record::Evaluation { evaluation, .. } => Some(evaluation.loss),
            Record::Step(_) => None,
        })
        .collect();
    assert!(evaluations[1] < evaluations[0], "{evaluations:?}");
}

#[test]
fn the_newest_and_the_best_checkpoints_stay() {
    let output = tempfile::tempdir().unwrap();
    let config =
        TrainConfig { save_every: 2, keep_last: 2, eval_every: Some(1), learning_rate: 0.5, ..config(12) };
    let outcome = train(output.path(), &config, u64::MAX).unwrap();
    let best = outcome.best.expect("evaluations").step;
    let mut expected: Vec<u64> = vec![10, 12];
    if !expected.contains(&best) {
        expected.push(best);
    }
    let mut expected: Vec<String> = expected.into_iter().map(|step| format!("checkpoint-{step}")).collect();
    expected.sort();
    assert_eq!(checkpoints(output.path()), expected);
    let pointer: serde_json::Value =
        serde_json::from_slice(&fs::read(output.path().join("best.json")).unwrap()).unwrap();
    assert_eq!(pointer["checkpoint"], format!("checkpoint-{best}"));
}

#[test]
fn a_damaged_checkpoint_is_passed_over_and_replaced() {
    let config = TrainConfig { save_every: 3, keep_last: 9, ..config(9) };
    let (whole, output) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    train(whole.path(), &config, u64::MAX).unwrap();
    train(output.path(), &config, 6).unwrap();
    let file = output.path().join("checkpoint-6/adapter_model.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&file, bytes).unwrap();
    let newest = Checkpoint::newest(output.path()).unwrap().expect("an older one");
    assert_eq!(newest.state().global_step, 3);
    train(output.path(), &config, u64::MAX).unwrap();
    Checkpoint::open(output.path().join("checkpoint-6")).unwrap();
    assert!(results(whole.path()) == results(output.path()), "the adapters differ");
}

#[test]
fn when_all_checkpoints_are_damaged_the_run_does_not_start_anew() {
    let output = tempfile::tempdir().unwrap();
    train(output.path(), &config(4), 2).unwrap();
    fs::remove_file(output.path().join("checkpoint-2/optimizer.safetensors")).unwrap();
    let error = Checkpoint::newest(output.path()).unwrap_err().to_string();
    assert!(
        error.contains("none of its 1 checkpoints") && error.contains("optimizer.safetensors"),
        "{error}"
    );
}

#[test]
fn a_run_does_not_go_on_with_another_configuration_and_names_it() {
    let output = tempfile::tempdir().unwrap();
    train(output.path(), &config(6), 2).unwrap();
    let other = TrainConfig { learning_rate: 1.0, seed: 7, log_every: 3, ..config(6) };
    let error = train(output.path(), &other, u64::MAX).unwrap_err();
    assert!(matches!(error, TrainError::OtherRun { .. }));
    let text = error.to_string();
    assert!(
        text.contains("`learning_rate` was 0.005, is 1.0") && text.contains("`seed` was 42, is 7"),
        "{text}"
    );
    assert!(!text.contains("log_every"), "{text}");
}

#[test]
fn a_fresh_run_leaves_the_checkpoints_of_another_alone() {
    let output = tempfile::tempdir().unwrap();
    train(output.path(), &config(4), 2).unwrap();
    let _turn = support::turn_to_draw();
    let mut model = support::Toy::adapted(0.0);
    let data = support::windows(5, 6);
    let mut trainer =
        qtuner_train::Trainer::new(&mut model, "default", config(4), data, support::no_data(), output.path())
            .unwrap();
    let error = trainer.run(&mut qtuner_train::trainer::Silent, &false.into()).unwrap_err();
    assert!(matches!(error, TrainError::Occupied { checkpoints: 1, .. }), "{error}");
    assert_eq!(checkpoints(output.path()), ["checkpoint-2"]);
}
