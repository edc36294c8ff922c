//! A run that is stopped within an evaluation: it ends after that batch, and goes on to the same end.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use qtuner_train::metrics::{self, Record};
use qtuner_train::trainer::Status;
use qtuner_train::{Event, TrainConfig};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use support::{config, train, train_until};

/// Three held-out samples one by one, so that there is a moment between two batches.
fn evaluated_config() -> TrainConfig {
    TrainConfig { eval_every: Some(2), eval_batch_size: Some(1), learning_rate: 0.3, ..config(6) }
}

/// Goes on in `output` until the first batch of an evaluation after `step` steps; the batches that were evaluated there.
fn stopped_in_the_evaluation_after(step: u64, output: &Path, config: &TrainConfig) -> Vec<usize> {
    let stop = AtomicBool::new(false);
    let (mut now, mut batches) = (0, Vec::new());
    let outcome = train_until(output, config, &stop, |event| match event {
        Event::Started { step, .. } => now = *step,
        Event::Step(metrics) => now = metrics.step,
        Event::Evaluating { samples, .. } if now == step => {
            batches.push(*samples);
            stop.store(true, Ordering::Relaxed);
        }
        Event::Evaluated { step: evaluated, .. } => assert_ne!(*evaluated, step, "it was broken off"),
        _ => {}
    });
    let outcome = outcome.unwrap();
    assert_eq!((outcome.status, outcome.step), (Status::Stopped, step));
    assert!(!output.join("adapter_model.safetensors").exists(), "the run is not finished");
    batches
}

fn evaluations(output: &Path) -> Vec<(u64, f64)> {
    let records = metrics::read(output).unwrap().into_iter();
    records
        .filter_map(|record| match record {
            Record::Evaluation { step, evaluation } => Some((step, evaluation.loss)),
            Record::Step(_) => None,
        })
        .collect()
}

#[test]
fn an_evaluation_that_was_broken_off_is_made_up_for_with_the_same_bits() {
    let config = evaluated_config();
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let expected = train(whole.path(), &config, u64::MAX).unwrap();
    assert_eq!(stopped_in_the_evaluation_after(2, parts.path(), &config), [1]);
    // Broken off again, in the same evaluation and in the last one, which comes after the last step.
    assert_eq!(stopped_in_the_evaluation_after(2, parts.path(), &config), [1]);
    assert_eq!(stopped_in_the_evaluation_after(6, parts.path(), &config), [1]);
    let found = train(parts.path(), &config, u64::MAX).unwrap();
    assert_eq!(
        (found.status, found.best, found.evaluation),
        (Status::Finished, expected.best, expected.evaluation)
    );
    assert_eq!(evaluations(whole.path()).len(), 3);
    assert_eq!(evaluations(whole.path()), evaluations(parts.path()));
    for name in ["adapter_model.safetensors", "best.json", "checkpoint-6/optimizer.safetensors"] {
        let read = |folder: &Path| fs::read(folder.join(name)).expect("a result");
        assert!(read(whole.path()) == read(parts.path()), "{name} differs");
    }
}

#[test]
fn the_evaluation_before_the_first_step_can_be_broken_off_too() {
    let config = TrainConfig { eval_on_start: true, ..evaluated_config() };
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    train(whole.path(), &config, u64::MAX).unwrap();
    assert_eq!(stopped_in_the_evaluation_after(0, parts.path(), &config), [1]);
    train(parts.path(), &config, u64::MAX).unwrap();
    assert_eq!(evaluations(whole.path()), evaluations(parts.path()));
}
