//! Runs the program on the fixtures.
#![allow(dead_code, reason = "each test file uses a part")]

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A folder or file of the repository.
pub(crate) fn repository(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    root.canonicalize().expect("a file of the repository").display().to_string()
}

/// The small AWQ model with its tokenizer.
pub(crate) fn tiny() -> String {
    repository("assets/tiny-kjv-awq")
}

/// A folder of this test's own.
pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// A path as an argument.
pub(crate) fn text(path: impl AsRef<Path>) -> String {
    path.as_ref().display().to_string()
}

/// The program, with nothing on stdin, and one thread: tests run side by side.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qtuner"));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .env_remove("RUST_LOG")
        .env("COLUMNS", "100")
        .env("OMP_NUM_THREADS", "1");
    command
}

/// How a run of the program ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// Runs the program.
pub(crate) fn qtuner(arguments: &[&str]) -> Ended {
    command(arguments).output().expect("the program starts").into()
}

/// Runs the program, which must succeed.
pub(crate) fn succeeds(arguments: &[&str]) -> Ended {
    let ended = qtuner(arguments);
    assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.stderr);
    ended
}

/// Runs the program with `--json`.
pub(crate) fn json(arguments: &[&str]) -> Value {
    let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
    serde_json::from_str(&succeeds(&arguments).stdout).expect("JSON on stdout")
}

/// Runs the program, which must fail with `code`, one sentence that has `error`, and a hint that has `hint`.
pub(crate) fn fails(arguments: &[&str], code: i32, error: &str, hint: &str) {
    let ended = qtuner(arguments);
    let stderr = &ended.stderr;
    assert_eq!(ended.code, Some(code), "{arguments:?}: {stderr}");
    assert!(!stderr.contains("panicked") && !stderr.contains("backtrace"), "{stderr}");
    let (sentence, advice) = stderr.split_once("\nhint: ").unwrap_or_else(|| panic!("no hint in {stderr}"));
    let sentence = sentence.rsplit_once("error: ").map_or("", |(_, sentence)| sentence);
    assert!(sentence.contains(error), "{sentence:?} lacks {error:?}");
    assert!(advice.contains(hint), "{advice:?} lacks {hint:?}");
}

/// The arguments of a training run of a few steps.
pub(crate) fn train_arguments(output: &Path, steps: u32) -> Vec<String> {
    let arguments = [
        ("model", tiny()),
        ("data", repository("assets/kjv-tail.txt")),
        ("output", text(output)),
        ("r", "4".to_owned()),
        ("target-modules", "q_proj,down_proj".to_owned()),
        ("lora-dropout", "0.1".to_owned()),
        ("sequence-length", "32".to_owned()),
        ("batch-size", "2".to_owned()),
        ("learning-rate", "1e-3".to_owned()),
        ("max-steps", steps.to_string()),
        ("save-every", "2".to_owned()),
        ("threads", "1".to_owned()),
    ];
    let flags = arguments.into_iter().flat_map(|(name, value)| [format!("--{name}"), value]);
    std::iter::once("train".to_owned()).chain(flags).collect()
}

/// `arguments` as the functions above take them.
pub(crate) fn strings(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

/// A folder with a tokenizer of the 128 ASCII characters, for models that bring none.
pub(crate) fn ascii_tokenizer() -> tempfile::TempDir {
    let vocabulary: serde_json::Map<String, Value> =
        (0..128u8).map(|byte| (char::from(byte).to_string(), byte.into())).collect();
    let tokenizer = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": { "type": "Split", "pattern": { "Regex": "(?s)." }, "behavior": "Isolated", "invert": false },
        "post_processor": null, "decoder": { "type": "Fuse" },
        "model": { "type": "WordLevel", "vocab": vocabulary, "unk_token": "?" },
    });
    let folder = folder();
    std::fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).expect("writable");
    folder
}

/// A copy of the small model with a chat template, and with `tokens` in place of the last ones of its vocabulary.
pub(crate) fn chat_model(template: &str, tokens: &[&str]) -> tempfile::TempDir {
    let folder = folder();
    for name in ["config.json", "generation_config.json", "model.safetensors", "tokenizer_config.json"] {
        std::fs::copy(Path::new(&tiny()).join(name), folder.path().join(name)).expect("writable");
    }
    std::fs::write(folder.path().join("chat_template.jinja"), template).expect("writable");
    let read = std::fs::read(Path::new(&tiny()).join("tokenizer.json")).expect("the small model's tokenizer");
    let mut tokenizer: Value = serde_json::from_slice(&read).expect("JSON");
    let vocabulary = tokenizer["model"]["vocab"].as_object_mut().expect("an object");
    let first = vocabulary.len() - tokens.len();
    vocabulary.retain(|_, id| id.as_u64().is_some_and(|id| id < first as u64));
    vocabulary.extend(tokens.iter().zip(first..).map(|(token, id)| ((*token).to_owned(), id.into())));
    let known = vocabulary.clone();
    let merges = tokenizer["model"]["merges"].as_array_mut().expect("a list");
    merges.retain(|pair| {
        let [left, right] = [0, 1].map(|side| pair[side].as_str().expect("a text"));
        [left, right, &format!("{left}{right}")].iter().all(|token| known.contains_key(*token))
    });
    let added = tokenizer["added_tokens"].as_array_mut().expect("a list");
    added.extend(tokens.iter().zip(first..).map(|(token, id)| {
        serde_json::json!({
            "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
            "special": true,
        })
    }));
    std::fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).expect("writable");
    folder
}
