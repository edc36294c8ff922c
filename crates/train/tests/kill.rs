//! A process that dies at any moment loses no finished checkpoint.
//!
//! The test starts its own program as a child that trains and saves at every step, kills it again and again at random moments,
//! and looks at what is there.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use qtuner_train::{Checkpoint, TrainConfig};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use support::{config, train};

/// Set for the child: where it trains.
const OUTPUT: &str = "QTUNER_KILL_TEST_OUTPUT";
const STEPS: u64 = 60;
const KILLS: usize = 15;

fn killed_config() -> TrainConfig {
    TrainConfig { save_every: 1, eval_every: Some(4), keep_last: 3, ..config(STEPS) }
}

fn start_child(output: &Path) -> Child {
    let program = std::env::current_exe().expect("the test's program");
    Command::new(program)
        .args(["--exact", "killing_the_process_loses_no_finished_checkpoint", "--nocapture"])
        .env(OUTPUT, output)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a child")
}

/// Every folder that is called a checkpoint is a whole one; the newest step.
fn newest_step(output: &Path) -> u64 {
    for entry in fs::read_dir(output).into_iter().flatten() {
        let entry = entry.expect("readable");
        if entry.file_name().to_string_lossy().starts_with("checkpoint-") {
            Checkpoint::open(entry.path()).expect("a whole checkpoint");
        }
    }
    let newest = Checkpoint::newest(output).expect("whole checkpoints");
    newest.map_or(0, |newest| newest.state().global_step)
}

#[test]
fn killing_the_process_loses_no_finished_checkpoint() {
    if let Some(output) = std::env::var_os(OUTPUT) {
        train(Path::new(&output), &killed_config(), u64::MAX).expect("a run that goes on");
        return;
    }
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |time| time.subsec_nanos());
    println!("seed {seed}");
    let mut random = u64::from(seed);
    let output = tempfile::tempdir().unwrap();
    let mut newest = 0;
    let mut killed = 0;
    for _ in 0..KILLS {
        let mut child = start_child(output.path());
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // From before the first step to some steps later, on a slow machine too: the moment is counted from the first file
        // that this child writes.
        let before = fs::read_dir(output.path().join("tensorboard")).map_or(0, Iterator::count);
        while fs::read_dir(output.path().join("tensorboard")).map_or(0, Iterator::count) == before {
            if child.try_wait().expect("a child").is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_micros(random >> 33 & 0x7FFF));
        child.kill().expect("a child");
        let status = child.wait().expect("a child");
        killed += usize::from(!status.success());
        let step = newest_step(output.path());
        assert!(step >= newest, "step {newest} was saved, and then only {step}");
        newest = step;
    }
    assert!(killed > 0, "no child died before it was done");
    let whole = tempfile::tempdir().unwrap();
    train(output.path(), &killed_config(), u64::MAX).expect("the run goes on");
    // How often a run saves is no part of its result.
    train(whole.path(), &TrainConfig { save_every: STEPS, ..killed_config() }, u64::MAX).expect("a run");
    for name in ["adapter_model.safetensors", "adapter_config.json", "best.json"] {
        let read = |folder: &Path| fs::read(folder.join(name)).expect("a result");
        assert!(read(output.path()) == read(whole.path()), "{name} differs");
    }
    let hidden: Vec<_> = fs::read_dir(output.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name.to_string_lossy().starts_with('.'))
        .collect();
    assert!(hidden.is_empty(), "{hidden:?}");
}
