//! `eval` and `generate`, with a base model alone and with an adapter.

mod support;

use std::io::Write;
use std::process::Stdio;
use support::{command, folder, json, repository, strings, succeeds, text, tiny, train_arguments};

/// The base's greedy continuation, by transformers on the dequantized weights.
const CONTINUATION: &str = "First Citizen: \nAnd all the people that were in the midst of the earth, \nAnd all the host of the field, and";

#[test]
fn the_base_says_what_transformers_makes_it_say() {
    let arguments = ["generate", "--model", &tiny(), "--prompt", "First Citizen:", "--max-new-tokens", "32"];
    let stdout = succeeds(&arguments).stdout;
    assert!(stdout.starts_with(CONTINUATION), "{stdout:?}");
}

#[test]
fn a_prompt_may_come_from_stdin_and_a_seed_repeats() {
    let run = |seed: &str| {
        let arguments =
            ["generate", "--model", &tiny(), "--max-new-tokens", "12", "--temperature", "1", "--seed", seed];
        let mut child =
            command(&arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("starts");
        child.stdin.take().expect("piped").write_all(b"And God said\n").expect("read");
        String::from_utf8(child.wait_with_output().expect("ends").stdout).expect("UTF-8")
    };
    let first = run("1");
    assert!(first.starts_with("And God said"), "{first}");
    assert_eq!(first, run("1"));
    assert_ne!(first, run("2"));
}

#[test]
fn the_base_has_the_reference_loss() {
    let data = repository("assets/kjv-tail.txt");
    let arguments =
        ["eval", "--model", &tiny(), "--data", &data, "--sequence-length", "256", "--windows", "2"];
    let figures = json(&arguments);
    assert_eq!((&figures[0]["name"], &figures[0]["samples"]), (&"base".into(), &2.into()));
    let loss = figures[0]["loss"].as_f64().expect("a number");
    let perplexity = figures[0]["perplexity"].as_f64().expect("a number");
    assert!((2.0..4.0).contains(&loss), "{loss}");
    assert!((perplexity - loss.exp()).abs() <= 1e-9 * perplexity);
}

#[test]
fn an_adapter_is_compared_with_the_base_which_it_does_not_change() {
    let folder = folder();
    let output = folder.path().join("out");
    succeeds(&strings(&train_arguments(&output, 4)));
    let (adapter, data) = (text(&output), repository("assets/kjv-tail.txt"));
    let evaluate = [
        "eval",
        "--model",
        &tiny(),
        "--data",
        &data,
        "--last-fraction",
        "0.2",
        "--sequence-length",
        "64",
        "--windows",
        "4",
    ];
    let base = json(&evaluate);
    let checkpoint = text(output.join("checkpoint-2"));
    let both = json(&[&evaluate[..], &["--adapter", &checkpoint, "--adapter", &adapter]].concat());
    assert_eq!(both.as_array().map(Vec::len), Some(3));
    assert_eq!(base[0]["loss"], both[0]["loss"]);
    assert_ne!(both[0]["loss"], both[1]["loss"]);
    assert_ne!(both[1]["loss"], both[2]["loss"]);
    let generate = ["generate", "--model", &tiny(), "--prompt", "First Citizen:", "--max-new-tokens", "32"];
    let compared = succeeds(&[&generate[..], &["--adapter", &adapter, "--compare"]].concat()).stdout;
    let (base, adapted) = compared.split_once(&format!("--- {adapter}\n")).expect("two parts");
    assert!(base.starts_with(&format!("--- base\n{CONTINUATION}")), "{base}");
    assert!(adapted.starts_with("First Citizen:"), "{adapted}");
}
