//! A short run: its files, its summary, going on, what it refuses.

mod support;

use serde_json::{Value, json};
use std::path::Path;
use support::{ascii_tokenizer, fails, folder, repository, strings, succeeds, text, tiny, train_arguments};

fn trained(output: &Path, steps: u32, more: &[&str]) -> Value {
    let arguments = train_arguments(output, steps);
    let arguments: Vec<&str> = strings(&arguments).into_iter().chain(more.iter().copied()).collect();
    support::json(&arguments)
}

fn bytes(output: &Path) -> Vec<u8> {
    std::fs::read(output.join("adapter_model.safetensors")).expect("the adapter")
}

#[test]
fn a_run_leaves_an_adapter_checkpoints_metrics_and_its_settings() {
    let folder = folder();
    let output = folder.path().join("out");
    let summary =
        trained(&output, 3, &["--eval-fraction", "0.1", "--eval-on-start", "--lr-scheduler", "linear"]);
    assert_eq!((&summary["status"], &summary["step"]), (&"finished".into(), &3.into()));
    assert_eq!(summary["adapter"], text(&output));
    let losses =
        [&summary["first_loss"], &summary["evaluation_at_start"]["loss"], &summary["evaluation"]["loss"]];
    assert!(
        losses.iter().all(|loss| loss.as_f64().is_some_and(|loss| (1.0..6.0).contains(&loss))),
        "{summary}"
    );
    for file in [
        "adapter_config.json",
        "checkpoint-2",
        "checkpoint-3",
        "metrics.jsonl",
        "loss.png",
        "loss.svg",
        "tensorboard",
    ] {
        assert!(output.join(file).exists(), "{file}");
    }
    let config = std::fs::read_to_string(output.join("adapter_config.json")).expect("the config");
    let config: Value = serde_json::from_str(&config).expect("JSON");
    assert_eq!((&config["r"], &config["task_type"]), (&4.into(), &"CAUSAL_LM".into()));
    assert_eq!(config["base_model_name_or_path"], tiny());
    let settings = std::fs::read_to_string(output.join("run.toml")).expect("the settings");
    for line in [
        "r = 4",
        "lora_dropout = 0.1",
        "learning_rate = 0.001",
        "lr_scheduler = \"linear\"",
        "dtype = \"float32\"",
    ] {
        assert!(settings.lines().any(|other| other == line), "{line} in\n{settings}");
    }
    let arguments = train_arguments(&output, 3);
    fails(&strings(&arguments), 1, "a run has reached step 3 here already", "--resume");
}

#[test]
fn numbers_that_are_none_are_refused() {
    let folder = folder();
    for (flag, value) in [("--weight-decay", "inf"), ("--max-grad-norm", "nan"), ("--num-epochs", "1e999")] {
        let mut arguments = train_arguments(&folder.path().join("out"), 1);
        arguments.extend([flag.to_owned(), value.to_owned()]);
        fails(&strings(&arguments), 2, "expected a finite number", "--help");
    }
    assert!(!folder.path().join("out").exists());
}

#[test]
fn what_is_somebodys_is_not_written_over() {
    let folder = folder();
    let output = folder.path().join("out");
    std::fs::create_dir(&output).expect("a folder");
    let arguments = train_arguments(&output, 1);
    for (file, what) in [("config.json", "holds a model"), ("adapter_config.json", "holds an adapter")] {
        std::fs::write(output.join(file), "{}").expect("a file");
        fails(&strings(&arguments), 1, what, "--output");
        std::fs::remove_file(output.join(file)).expect("the file");
    }
    let settings = output.join("run.toml");
    std::fs::write(&settings, "# mine\n").expect("a file");
    let arguments = [arguments, vec!["--config".to_owned(), text(&settings)]].concat();
    fails(&strings(&arguments), 1, "holds the file of --config", "--output");
    assert_eq!(std::fs::read_to_string(settings).expect("the file"), "# mine\n");
}

#[cfg(target_os = "linux")]
#[test]
fn a_run_that_nobody_can_read_about_goes_on() {
    let folder = folder();
    let output = folder.path().join("out");
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("the device");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_qtuner"));
    let status =
        command.args(train_arguments(&output, 2)).stderr(full).stdout(std::process::Stdio::null()).status();
    assert!(status.expect("the program runs").success());
    assert!(output.join("adapter_model.safetensors").exists());
}

#[test]
fn a_file_is_beaten_by_a_flag_and_says_the_same() {
    let folder = folder();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    trained(&one, 2, &[]);
    support::json(&[
        "train",
        "--config",
        &text(one.join("run.toml")),
        "--output",
        &text(&two),
        "--threads",
        "1",
    ]);
    assert_eq!(bytes(&one), bytes(&two));
    let flag = ["train", "--config", &text(one.join("run.toml")), "--r", "2", "--dry-run"];
    let plan = support::json(&flag);
    assert_eq!(plan["layers"][0]["r"], 2);
}

#[test]
fn a_run_that_goes_on_ends_with_the_same_bytes() {
    let folder = folder();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    trained(&whole, 4, &[]);
    trained(&parts, 4, &["--keep-last", "9"]);
    for name in ["checkpoint-4", "adapter_model.safetensors"] {
        let path = parts.join(name);
        let removed =
            if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        removed.expect("what the second half made");
    }
    let summary = support::json(&["train", "--resume", "--output", &text(&parts), "--threads", "1"]);
    assert_eq!((&summary["status"], &summary["step"]), (&"finished".into(), &4.into()));
    assert_eq!(bytes(&whole), bytes(&parts));
    fails(
        &["train", "--resume", "--output", &text(&parts), "--r", "8"],
        2,
        "`r` was 4, is 8",
        "another --output",
    );
    let rate = ["train", "--resume", "--output", &text(&parts), "--learning-rate", "1e-4"];
    fails(&rate, 1, "`learning_rate` was 0.001, is 0.0001", "run.toml");
}

#[test]
fn a_dry_run_writes_nothing_and_says_what_would_be_done() {
    let folder = folder();
    let output = folder.path().join("out");
    let plan = trained(&output, 5, &["--dry-run"]);
    assert!(!output.exists());
    assert_eq!(plan["layers"].as_array().map(Vec::len), Some(12));
    assert_eq!(plan["trainable_parameters"], json!(6 * 4 * (256 + 256 + 768 + 256)));
    assert_eq!(plan["plan"]["steps"], 5);
    assert!(plan["memory"]["weights"].as_u64().is_some_and(|bytes| bytes > 4_000_000), "{plan}");
    let arguments = train_arguments(&output, 5);
    let arguments: Vec<&str> = strings(&arguments).into_iter().chain(["--dry-run"]).collect();
    let text = succeeds(&arguments).stdout;
    assert!(text.contains("trainable params: 36,864") && text.contains("together, about"), "{text}");
}

#[test]
fn the_memory_estimate_follows_from_the_shapes_and_is_near_what_a_run_needs() {
    let folder = folder();
    let output = text(folder.path().join("out"));
    let (model, data) = (tiny(), repository("assets/kjv-tail.txt"));
    let arguments =
        ["train", "--model", &model, "--data", &data, "--output", &output, "--r", "16", "--max-steps", "1"];
    let arguments = [&arguments[..], &["--sequence-length", "256", "--batch-size", "2"]].concat();
    let memory =
        |more: &[&str]| support::json(&[&arguments[..], more, &["--dry-run"]].concat())["memory"].clone();
    let number = |value: &Value| value.as_u64().expect("bytes");
    let all = memory(&[]);
    // Six blocks: hidden and query width 256, keys 128, intermediate 768; 512 tokens in f32.
    let batch = 512 * 6;
    let kept = &all["activations"];
    assert_eq!(number(&kept["norms"]), batch * 4 * (256 + 256));
    assert_eq!(number(&kept["adapter_inputs"]), batch * (4 * (256 + 256 + 256 + 768) + 4 * 7 * 16));
    assert_eq!(number(&kept["attention"]), batch * 4 * (256 + 128 + 128));
    assert_eq!(number(&kept["mlp"]), batch * 4 * 2 * 768);
    assert_eq!(number(&all["scratch"]), 512 * 4096 * 8);
    // Layers that share an input keep it once; dropout gives each its own.
    let inputs = |more: &[&str]| number(&memory(more)["activations"]["adapter_inputs"]) / batch;
    assert_eq!(inputs(&["--target-modules", "q_proj"]), 4 * 256 + 4 * 16);
    assert_eq!(inputs(&["--target-modules", "q_proj,k_proj"]), 4 * 256 + 4 * 2 * 16);
    assert_eq!(
        inputs(&["--target-modules", "q_proj,k_proj", "--lora-dropout", "0.1"]),
        5 * 2 * 256 + 4 * 2 * 16
    );
    assert_eq!(inputs(&["--target-modules", "q_proj", "--dtype", "bfloat16"]), 2 * 256 + 4 * 16);
    let terms = ["weights", "adapter", "scratch", "holes", "program"].map(|name| number(&all[name]));
    let kept: u64 = kept.as_object().expect("terms").values().map(number).sum();
    let estimate = terms.iter().sum::<u64>() + kept;
    let Some(peak) = support::json(&arguments)["peak_memory"].as_u64() else { return };
    // Allocators differ; a term that is missing or counted twice would be more.
    assert!(peak.abs_diff(estimate) * 10 < peak * 3, "needed {peak}, estimated {estimate}");
}

#[test]
fn plain_lines_tell_of_a_run_without_a_terminal() {
    let folder = folder();
    let arguments = train_arguments(&folder.path().join("out"), 2);
    let ended = succeeds(&strings(&arguments));
    assert!(
        ended.stderr.contains("step    1/2  loss ") && ended.stderr.contains("step    2/2  loss "),
        "{}",
        ended.stderr
    );
    assert!(ended.stdout.contains("next:\n  qtuner generate --model "), "{}", ended.stdout);
}

#[test]
fn a_model_without_a_tokenizer_trains_with_one_of_another_folder() {
    let folder = folder();
    let tokenizer = ascii_tokenizer();
    let data = folder.path().join("data.txt");
    std::fs::write(&data, "the quick brown fox jumps over the lazy dog ".repeat(20)).expect("writable");
    let (model, output) = (repository("tests/fixtures/llama-awq"), text(folder.path().join("out")));
    let (data, tokenizer) = (text(&data), text(tokenizer.path()));
    let arguments =
        ["train", "--model", &model, "--tokenizer", &tokenizer, "--data", &data, "--output", &output];
    let more = ["--max-steps", "2", "--sequence-length", "32", "--use-rslora", "--bias", "none"];
    let summary = support::json(&[&arguments[..], &more].concat());
    assert_eq!(summary["status"], "finished");
}

#[cfg(unix)]
#[test]
fn ctrl_c_finishes_the_step_saves_and_says_how_to_go_on() {
    use std::io::{BufRead, BufReader, Read};
    use std::process::{Command, Stdio};
    let folder = folder();
    let output = folder.path().join("out");
    let arguments = train_arguments(&output, 100_000);
    let mut child = support::command(&strings(&arguments));
    let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let stderr = BufReader::new(child.stderr.take().expect("piped"));
    let mut lines = stderr.lines().map(|line| line.expect("UTF-8"));
    lines.find(|line| line.starts_with("step ")).expect("a first step");
    let interrupt = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill");
    assert!(interrupt.success());
    let rest: Vec<String> = lines.collect();
    assert!(rest.iter().any(|line| line.starts_with("stopping after this step")), "{rest:?}");
    let mut stdout = String::new();
    child.stdout.take().expect("piped").read_to_string(&mut stdout).expect("UTF-8");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    assert!(
        stdout.contains(&format!("to go on:\n  qtuner train --resume --output {}", text(&output))),
        "{stdout}"
    );
    let state = std::fs::read_dir(&output).expect("the output").filter_map(Result::ok);
    assert!(
        state.map(|entry| entry.file_name()).any(|name| name.to_string_lossy().starts_with("checkpoint-"))
    );
    fails(
        &[
            "eval",
            "--model",
            &tiny(),
            "--data",
            &repository("assets/kjv-tail.txt"),
            "--windows",
            "1",
            "--adapter",
            &text(&output),
        ],
        1,
        "adapter_config.json: not found",
        "its newest checkpoint is",
    );
}
