//! What is known of how answers and texts end: which tokens stop a generation, and why none would.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use qtuner_train::data::{DataReport, NoStop, load};
use qtuner_train::{DataOptions, Tokenizer};
use std::fs;
use std::path::{Path, PathBuf};

/// The demo model's end-of-text token, `<|end|>`.
const EOS: u32 = 1;

const CHAT: &str =
    r#"{"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "He."}]}"#;
const COMPLETION: &str = r#"{"prompt": "And God", "completion": " said"}"#;

fn demo_model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/tiny-kjv-awq")
}

/// The demo model's tokenizer under another configuration, and what it makes of a file of these lines.
fn loaded(config: &str, template: &str, lines: &[&str]) -> (Tokenizer, DataReport) {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(demo_model().join("tokenizer.json"), folder.path().join("tokenizer.json")).unwrap();
    fs::write(folder.path().join("tokenizer_config.json"), config).unwrap();
    fs::write(folder.path().join("chat_template.jinja"), template).unwrap();
    let data = folder.path().join("data.jsonl");
    fs::write(&data, lines.join("\n")).unwrap();
    let mut tokenizer = Tokenizer::open(folder.path()).unwrap();
    let report = load(&data, &DataOptions::default(), &mut tokenizer).unwrap().report;
    (tokenizer, report)
}

fn template(end: &str) -> String {
    format!("{{% for m in messages %}}<{{{{ m.role }}}}>{{{{ m.content }}}}{end}{{% endfor %}}")
}

const NAMED: &str = r#"{"eos_token": "<|end|>"}"#;

#[test]
fn the_end_of_text_token_is_added_to_completions_and_learned() {
    let (tokenizer, report) = loaded(NAMED, &template(""), &[COMPLETION, r#"{"text": "In the beginning"}"#]);
    let ends = &report.endings.texts;
    assert_eq!((ends.open, ends.tokens.len()), (0, 1));
    assert_eq!(
        (ends.tokens[0].token, ends.tokens[0].text.as_str(), ends.tokens[0].count),
        (EOS, "<|end|>", 2)
    );
    assert_eq!(report.endings.without_stop(&tokenizer, &[1]), []);
    assert_eq!(
        report.endings.to_string(),
        "2 of 2 texts end in \"<|end|>\" (token 1), which the loss counts\n"
    );
    let unlisted = report.endings.without_stop(&tokenizer, &[2, 3]);
    assert!(matches!(&unlisted[..], [NoStop::NotListed { what: "texts", of: 2, .. }]), "{unlisted:?}");
    assert!(unlisted[0].to_string().ends_with("eos_token_id is [2, 3]"), "{}", unlisted[0]);
}

#[test]
fn without_an_end_of_text_token_completions_have_no_end() {
    let (tokenizer, report) = loaded("{}", &template(""), &[COMPLETION]);
    assert_eq!(report.endings.without_stop(&tokenizer, &[1]), [NoStop::NoEos { open: 1 }]);
}

#[test]
fn blanks_after_a_turns_end_change_nothing() {
    for (end, text) in
        [("<|end|>", "<|end|>"), ("<|end|>\n", "<|end|>\n"), (" <|end|> \n\n", " <|end|> \n\n")]
    {
        let (tokenizer, report) = loaded(NAMED, &template(end), &[CHAT]);
        assert_eq!(tokenizer.chat_template().unwrap().turn_end().as_deref(), Some(text));
        assert_eq!(tokenizer.turn_end(), Some(EOS));
        assert_eq!(report.endings.without_stop(&tokenizer, &[1]), [], "{end:?}");
    }
}

#[test]
fn an_end_of_several_tokens_stops_nothing() {
    let (tokenizer, report) = loaded(NAMED, &template("<|im_end|>\n"), &[CHAT]);
    assert_eq!((tokenizer.turn_end(), report.endings.answers.open), (None, 1));
    let reasons = report.endings.without_stop(&tokenizer, &[1]);
    assert!(
        matches!(&reasons[..], [NoStop::Split { text, pieces }] if text == "<|im_end|>" && *pieces > 1),
        "{reasons:?}"
    );
}

#[test]
fn a_template_without_ends_teaches_none() {
    let (tokenizer, report) = loaded(NAMED, &template("\n"), &[CHAT, CHAT]);
    assert_eq!(report.endings.without_stop(&tokenizer, &[1]), [NoStop::NothingWritten { open: 2 }]);
}

#[test]
fn a_template_that_refuses_a_question_has_no_known_end() {
    let (tokenizer, _) = loaded(NAMED, "{{ raise_exception('never') }}", &[COMPLETION]);
    assert_eq!((tokenizer.turn_end(), tokenizer.chat_template().unwrap().turn_end()), (None, None));
}
