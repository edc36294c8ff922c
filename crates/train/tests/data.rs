//! Files to samples, with the tokenizer of the demo model and a chat template of the test's own.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use qtuner_train::data::{Arrangement, DataError, load, preview};
use qtuner_train::{DataOptions, SpecialTokens, Tokenizer};
use std::fs;
use std::path::{Path, PathBuf};

const TEMPLATE: &str = "{% for message in messages %}<|begin|>{{ message.role }}: {{ message.content }}<|end|>{% endfor %}\
                        {% if add_generation_prompt %}<|begin|>assistant: {% endif %}";

fn assets() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets")
}

/// The demo model's tokenizer with a chat template beside it.
fn tokenizer() -> Tokenizer {
    let folder = tempfile::tempdir().unwrap();
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        fs::copy(assets().join("tiny-kjv-awq").join(name), folder.path().join(name)).unwrap();
    }
    fs::write(folder.path().join("chat_template.jinja"), TEMPLATE).unwrap();
    Tokenizer::open(folder.path()).unwrap()
}

fn options(arrangement: Arrangement) -> DataOptions {
    let mut options = DataOptions::default();
    options.arrangement = arrangement;
    options.sequence_length = 64;
    options
}

/// The text of what the loss counts, document by document.
fn learned(lines: &str, arrangement: Arrangement) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.jsonl");
    fs::write(&path, lines).unwrap();
    let mut tokenizer = tokenizer();
    let split = load(&path, &options(arrangement), &mut tokenizer).unwrap();
    let mut texts = Vec::new();
    for sample in preview(&split.train, &tokenizer, usize::MAX).unwrap().samples {
        let documents = sample.tokens.iter().map(|token| token.segment).max().unwrap_or(0);
        for document in 1..=documents {
            let counted = sample.tokens.iter().filter(|token| token.segment == document && token.loss);
            let tokens: Vec<u32> = counted.map(|token| token.token).collect();
            texts.push(tokenizer.decode(&tokens, SpecialTokens::Keep).unwrap());
        }
    }
    texts
}

#[test]
fn the_loss_sees_what_is_to_be_said_and_its_end() {
    let lines = r#"{"prompt": "In the beginning", "completion": " God created the heaven"}

{"messages": [{"role": "user", "content": "Who art thou?"}, {"role": "assistant", "content": "I am he."}, {"role": "user", "content": "Whence?"}, {"role": "assistant", "content": "From the east."}]}
"#;
    for arrangement in [Arrangement::Packed, Arrangement::Padded] {
        let expected = [" God created the heaven<|end|>", " I am he.<|end|> From the east.<|end|>"];
        assert_eq!(learned(lines, arrangement), expected, "{arrangement:?}");
    }
}

#[test]
fn a_text_is_learned_but_for_its_first_token() {
    let learned = learned(r#"{"text": "And it came to pass"}"#, Arrangement::Padded);
    assert_eq!(learned, [" it came to pass<|end|>"]);
}

#[test]
fn bad_lines_are_reported_by_number_and_too_many_refuse_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.jsonl");
    let good = r#"{"text": "And it came to pass"}"#;
    fs::write(&path, format!("{good}\n{{\n{good}\n{{\"text\": 1}}\n")).unwrap();
    let mut options = options(Arrangement::Packed);
    options.max_bad_lines = 2;
    let split = load(&path, &options, &mut tokenizer()).unwrap();
    let lines: Vec<usize> = split.report.bad_lines.iter().map(|line| line.line).collect();
    assert_eq!((lines, split.report.documents), (vec![2, 4], 2));
    options.max_bad_lines = 1;
    let error = load(&path, &options, &mut tokenizer()).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, DataError::BadLines { limit: 1, .. }), "{text}");
    assert!(text.contains("line 2") && text.contains("line 4: `text` is a number"), "{text}");
}

#[test]
fn a_file_of_bad_lines_alone_counts_them_and_shows_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.jsonl");
    let error = |lines: &str, limit: usize| {
        fs::write(&path, lines).unwrap();
        let mut options = options(Arrangement::Packed);
        options.max_bad_lines = limit;
        load(&path, &options, &mut tokenizer()).unwrap_err()
    };
    let found = error("{\n\n[]\n{\"text\": 1}\n", 10);
    let DataError::Empty { bad_lines, found: 0, .. } = &found else { panic!("{found}") };
    assert_eq!(bad_lines.iter().map(|bad| bad.line).collect::<Vec<_>>(), [1, 3, 4]);
    let text = found.to_string();
    assert!(text.contains("none of its 3 lines can be used:\n  line 1: no JSON"), "{text}");
    assert!(text.ends_with("\n  line 4: `text` is a number, expected a string"), "{text}");
    let text = error("[]\n", 10).to_string();
    assert!(
        text.ends_with("its only line cannot be used:\n  line 1: found a list, expected an object"),
        "{text}"
    );
    let text = error(&"[]\n".repeat(25), 100).to_string();
    assert!(text.contains("none of its 25 lines") && text.ends_with("\n  and 15 more"), "{text}");
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_data() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        let mut options = options(Arrangement::Packed);
        options.sequence_length = 3;
        let split = load(&path, &options, &mut tokenizer()).unwrap();
        split.train.samples()[0].tokens().to_vec()
    };
    for (name, text) in [("a.txt", "And it came to pass"), ("a.jsonl", r#"{"text": "And God said"}"#)] {
        assert_eq!(tokens(name, &format!("\u{feff}{text}")), tokens(name, text));
    }
}

#[test]
fn the_last_part_of_a_text_is_held_out_in_windows() {
    let mut options = DataOptions::default();
    options.sequence_length = 256;
    options.eval_fraction = 0.05;
    let mut tokenizer = tokenizer();
    let split = load(&assets().join("shakespeare.txt"), &options, &mut tokenizer).unwrap();
    assert_eq!(split.eval.samples().len(), 75);
    assert!(split.train.samples().iter().chain(split.eval.samples()).all(|sample| sample.len() == 256));
    options.eval_fraction = 0.0;
    let tail = load(&assets().join("kjv-tail.txt"), &options, &mut tokenizer).unwrap();
    assert_eq!((tail.train.samples().len(), tail.eval.samples().len()), (82, 0));
}

#[test]
fn a_preview_shows_every_token_with_its_part_in_the_loss() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.jsonl");
    fs::write(&path, r#"{"prompt": "And", "completion": " God"}"#).unwrap();
    let mut tokenizer = tokenizer();
    let split = load(&path, &options(Arrangement::Packed), &mut tokenizer).unwrap();
    let text = preview(&split.train, &tokenizer, 3).unwrap().to_string();
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(text.lines().next(), Some("sample 1: 3 tokens, 2 in the loss"));
    assert_eq!(lines[2][3..], ["-", "\"And\""]);
    assert_eq!(lines[3][3..], ["yes", "\"", "God\""]);
    assert_eq!(lines[4][3..], ["yes", "\"<|end|>\""]);
}

#[test]
fn unusable_files_are_named_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let check = |name: &str, bytes: &[u8], words: &str| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        let error = load(&path, &options(Arrangement::Packed), &mut tokenizer()).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains(name), "{error}");
    };
    check("latin.txt", b"caf\xe9", "not UTF-8 at byte 3");
    check("short.txt", b"too short", "tokens give no sample of 64");
    check("empty.jsonl", b"", "the file is empty");
    check("empty.txt", b"", "the file is empty");
    let missing = load(&folder.path().join("none.txt"), &options(Arrangement::Packed), &mut tokenizer());
    assert!(matches!(missing, Err(DataError::Io { .. })));
}

#[test]
fn tokenizer_folders_that_cannot_be_used_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let check = |words: &str| {
        let error = Tokenizer::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    check("tokenizer.json: not found");
    fs::write(folder.path().join("tokenizer.json"), "{}").unwrap();
    check("tokenizer.json: not usable");
    fs::copy(assets().join("tiny-kjv-awq/tokenizer.json"), folder.path().join("tokenizer.json")).unwrap();
    fs::write(folder.path().join("tokenizer_config.json"), r#"{"eos_token": {"content": "</s>"}}"#).unwrap();
    check("`eos_token` is \"</s>\"");
    fs::write(folder.path().join("tokenizer_config.json"), r#"{"chat_template": "{% for %}"}"#).unwrap();
    check("the chat template cannot be parsed");
}

#[test]
fn truncation_and_padding_of_the_tokenizers_file_do_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(assets().join("tiny-kjv-awq/tokenizer.json")).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    json["truncation"] = serde_json::json!({
        "direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0
    });
    fs::write(folder.path().join("tokenizer.json"), json.to_string()).unwrap();
    let tokenizer = Tokenizer::open(folder.path()).unwrap();
    let tokens = tokenizer.encode("And it came to pass in those days", SpecialTokens::Skip).unwrap();
    assert_eq!(tokenizer.decode(&tokens, SpecialTokens::Skip).unwrap(), "And it came to pass in those days");
}
