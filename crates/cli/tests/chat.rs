//! Conversations from the file to the answer: what the loss sees of them, that a trained model stops where a turn ends, and what
//! is said where it could not.

mod support;

use serde_json::{Value, json};
use std::path::Path;
use support::{Ended, chat_model, folder, strings, succeeds, text};

const CHATML: &str = include_str!("templates/chatml.jinja");
const HEADERS: &str = include_str!("templates/headers.jinja");
const INST: &str = include_str!("templates/inst.jinja");

const CHATML_TOKENS: [&str; 2] = ["<|im_start|>", "<|im_end|>"];
const HEADER_TOKENS: [&str; 3] = ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"];

/// Two conversations, one of two turns with a system's message.
fn conversations(folder: &Path) -> String {
    let lines = [
        json!({ "messages": [
            { "role": "user", "content": "Who made the world?" },
            { "role": "assistant", "content": "God made it." },
        ] }),
        json!({ "messages": [
            { "role": "system", "content": "Be brief." },
            { "role": "user", "content": "Art thou he?" },
            { "role": "assistant", "content": "I am." },
            { "role": "user", "content": "Whence art thou?" },
            { "role": "assistant", "content": "From the east." },
        ] }),
    ];
    let path = folder.join("chats.jsonl");
    std::fs::write(&path, lines.map(|line| line.to_string() + "\n").concat()).expect("writable");
    text(path)
}

fn preview(model: &Path, data: &str) -> Value {
    support::json(&["preview", "--model", &text(model), "--data", data, "--arrangement", "padded"])
}

/// What the loss counts in each sample, in pieces that stand together.
fn learned(preview: &Value) -> Vec<Vec<String>> {
    let samples = preview["samples"].as_array().expect("a list").iter();
    let pieces = samples.map(|sample| {
        let mut pieces = vec![String::new()];
        for token in sample["tokens"].as_array().expect("a list") {
            match (token["loss"] == true, pieces.last_mut()) {
                (true, Some(piece)) => piece.push_str(token["text"].as_str().expect("a text")),
                (_, Some(piece)) if !piece.is_empty() => pieces.push(String::new()),
                _ => {}
            }
        }
        pieces.into_iter().filter(|piece| !piece.is_empty()).collect()
    });
    pieces.collect()
}

fn set_eos(model: &Path, ids: &Value) {
    let config = json!({ "eos_token_id": ids });
    std::fs::write(model.join("generation_config.json"), config.to_string()).expect("writable");
}

/// The number of a token that [`chat_model`] has put in: they take the last places of the vocabulary.
fn id(tokens: &[&str], token: &str) -> usize {
    4096 - tokens.len() + tokens.iter().position(|other| *other == token).expect("one of them")
}

#[test]
fn the_loss_sees_the_assistants_turns_with_their_ends() {
    let check = |template: &str, tokens: &[&str], end: &str, expected: [&[&str]; 2]| {
        let (folder, model) = (folder(), chat_model(template, tokens));
        set_eos(model.path(), &json!([1, 4096 - 1]));
        let data = conversations(folder.path());
        let seen = preview(model.path(), &data);
        assert_eq!(learned(&seen), expected);
        assert_eq!(seen["warnings"], json!([]));
        let ends = &seen["report"]["endings"]["answers"];
        assert_eq!(
            (&ends["tokens"][0]["text"], &ends["tokens"][0]["count"]),
            (&end.into(), &3.into()),
            "{ends}"
        );
        let shown = succeeds(&["preview", "--model", &text(model.path()), "--data", &data]).stdout;
        assert!(shown.contains(&format!("3 of 3 answers end in \"{end}\" (token ")), "{shown}");
    };
    let chatml: [&[&str]; 2] =
        [&["God made it.<|im_end|>\n"], &["I am.<|im_end|>\n", "From the east.<|im_end|>\n"]];
    check(CHATML, &CHATML_TOKENS, "<|im_end|>", chatml);
    let headers: [&[&str]; 2] =
        [&["God made it.<|eot_id|>"], &["I am.<|eot_id|>", "From the east.<|eot_id|>"]];
    check(HEADERS, &HEADER_TOKENS, "<|eot_id|>", headers);
    // The system's message stands in the last question: the first one is written in another way when it is the last.
    let inst: [&[&str]; 2] = [&[" God made it.<|end|>"], &[" I am.<|end|>", " From the east.<|end|>"]];
    check(INST, &[], "<|end|>", inst);
}

/// Trains until the model says the one answer that it is shown; the adapter's folder.
fn taught(folder: &Path, model: &Path) -> String {
    let data = folder.join("one.jsonl");
    let line = json!({ "messages": [
        { "role": "user", "content": "What sayest thou?" },
        { "role": "assistant", "content": "Amen." },
    ] });
    std::fs::write(&data, line.to_string()).expect("writable");
    let output = text(folder.join("adapter"));
    let (model, data) = (text(model), text(data));
    let arguments = ["train", "--model", &model, "--data", &data, "--output", &output, "--max-steps", "40"];
    let rate = ["--learning-rate", "5e-3", "--r", "8", "--lr-scheduler", "constant", "--log-every", "40"];
    let ended = succeeds(&[&arguments[..], &rate].concat());
    assert!(
        ended.stdout.contains("next:\n  qtuner generate") && ended.stdout.contains(" --chat "),
        "{}",
        ended.stdout
    );
    output
}

fn answer(model: &Path, adapter: &str, more: &[&str]) -> Ended {
    let model = text(model);
    let arguments = ["generate", "--model", &model, "--adapter", adapter, "--max-new-tokens", "24"];
    succeeds(&[&arguments[..], more].concat())
}

#[test]
fn a_model_that_has_learned_an_answer_says_it_and_stops() {
    let tokens = CHATML_TOKENS;
    let (folder, model) = (folder(), chat_model(CHATML, &tokens));
    set_eos(model.path(), &json!([1, id(&tokens, "<|im_end|>")]));
    let adapter = taught(folder.path(), model.path());
    let asked = ["--chat", "--prompt", "What sayest thou?"];
    assert_eq!(answer(model.path(), &adapter, &asked).stdout, "Amen.\n");
    // The template's turn end stops it where the model's own list does not.
    set_eos(model.path(), &json!(1));
    assert_eq!(answer(model.path(), &adapter, &asked).stdout, "Amen.\n");
    let whole = "<|im_start|>system\nThou art a faithful scribe.<|im_end|>\n<|im_start|>user\nWhat sayest thou?<|im_end|>\n\
                 <|im_start|>assistant\n";
    let written = answer(model.path(), &adapter, &["--prompt", whole]).stdout;
    let continued = written.strip_prefix(whole).expect("the prompt");
    assert!(continued.starts_with("Amen.") && continued.trim_end().len() > "Amen.".len(), "{written:?}");
}

#[test]
fn a_turn_that_would_not_stop_is_warned_of() {
    let check = |template: &str, tokens: &[&str], sentence: &str, hint: &str| {
        let (folder, model) = (folder(), chat_model(template, tokens));
        let (data, output) = (conversations(folder.path()), text(folder.path().join("out")));
        let model = text(model.path());
        let files = ["--model", &model, "--data", &data];
        let train = [&["train"][..], &files, &["--output", &output, "--max-steps", "2"]].concat();
        let dry = [&train[..], &["--dry-run"]].concat();
        for arguments in [[&["preview"][..], &files].concat(), dry.clone(), train] {
            let stderr = succeeds(&arguments).stderr;
            let warning = format!("warning: {sentence}");
            let place = stderr.find(&warning).unwrap_or_else(|| panic!("{arguments:?}: {stderr}"));
            assert!(stderr[place..].contains(&format!("\nhint: {hint}")), "{stderr}");
        }
        let json = support::json(&dry);
        assert!(
            json["run_warnings"][0]["message"].as_str().is_some_and(|text| text.starts_with(sentence)),
            "{json}"
        );
    };
    let id = id(&CHATML_TOKENS, "<|im_end|>");
    let sentence =
        format!("3 of 3 answers end in \"<|im_end|>\" (token {id}), and generation would go on after it");
    check(CHATML, &CHATML_TOKENS, &sentence, &format!("add {id} to `eos_token_id`"));
    let split = "the chat template ends a turn with \"<|im_end|>\", which is ";
    check(CHATML, &[], split, "take the tokenizer that has \"<|im_end|>\" as one token");
    let bare = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}";
    check(bare, &[], "3 answers have no end to learn", "write {{ eos_token }} after");
}

#[test]
fn a_refused_conversation_is_a_bad_line_with_the_templates_words() {
    let (folder, model) = (folder(), chat_model(INST, &[]));
    let data = folder.path().join("chats.jsonl");
    let line = json!({ "messages": [{ "role": "assistant", "content": "I speak first." }] });
    std::fs::write(&data, line.to_string()).expect("writable");
    let arguments =
        ["preview".to_owned(), "--model".to_owned(), text(model.path()), "--data".to_owned(), text(&data)];
    support::fails(&strings(&arguments), 1, "turns must go user, assistant", "each line is one object");
}
