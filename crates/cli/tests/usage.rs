//! What is asked for in the wrong way ends with exit code 2, one sentence and a hint; what goes wrong, with 1.

mod support;

use support::{command, fails, folder, qtuner, repository, succeeds, text, tiny};

#[test]
fn help_and_version_succeed() {
    assert!(succeeds(&["--version"]).stdout.starts_with("qtuner "));
    for name in ["train", "generate", "eval", "inspect", "preview", "backends", "env", "completions"] {
        let help = succeeds(&[name, "--help"]).stdout;
        assert!(help.contains("Usage: qtuner"), "{help}");
    }
}

#[test]
fn the_help_texts_are_these() {
    for name in ["train", "generate", "eval", "inspect"] {
        insta::assert_snapshot!(format!("help_{name}"), succeeds(&[name, "--help"]).stdout);
    }
}

#[test]
fn a_command_line_that_cannot_be_meant_ends_with_2() {
    for arguments in [&["tarin"][..], &["train", "--lerning-rate", "1"], &["eval"], &["train", "--r", "four"]]
    {
        let ended = qtuner(arguments);
        assert_eq!(ended.code, Some(2), "{arguments:?}: {}", ended.stderr);
        assert!(ended.stderr.starts_with("error: ") && ended.stderr.contains("\nhint: "), "{}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 2, "{}", ended.stderr);
    }
    assert!(qtuner(&["train", "--lerning-rate", "1"]).stderr.contains("--learning-rate"));
}

#[test]
fn a_run_that_lacks_something_says_all_that_it_lacks() {
    fails(&["train", "--data", "x.txt"], 2, "train needs --model FOLDER and --output FOLDER", "--config");
    fails(&["train", "--resume"], 2, "--resume needs --output FOLDER", "the run that is to go on");
}

#[test]
fn an_unknown_key_of_the_file_is_answered_with_a_suggestion() {
    let folder = folder();
    let path = folder.path().join("run.toml");
    let check = |content: &str, error: &str, hint: &str| {
        std::fs::write(&path, content).expect("writable");
        fails(&["train", "--config", &text(&path)], 2, error, hint);
    };
    check("lerning_rate = 1e-3\n", "unknown key `lerning_rate`", "did you mean `learning_rate`");
    check("rank = 4\n", "unknown key `rank`", "did you mean `r`");
    check("flavour = 'sweet'\n", "unknown key `flavour`", "--help");
    check("batch_size = 'many'\n", "`batch_size` is \"many\"", "--help");
    check("r = \n", "line 1: not TOML", "name = value");
    let files = "model = 'm'\ndata = 'd'\noutput = 'o'\n";
    check(&format!("{files}lora_dropout = 7.0\n"), "lora_dropout is 7", "--help");
    check(&format!("{files}warmup_ratio = 2.0\n"), "`warmup_ratio` is 2", "--help");
    check(&format!("{files}r = 'four'\n"), "r is the string \"four\"", "--help");
}

#[test]
fn what_is_not_there_is_named_with_the_way_out() {
    let output = text(folder().path().join("out"));
    let (tiny, data) = (tiny(), repository("assets/kjv-tail.txt"));
    fails(&["inspect", "no-such-folder"], 1, "no-such-folder: not a folder", "config.json");
    fails(&["eval", "--model", "nowhere", "--data", &data], 1, "tokenizer.json: not found", "--tokenizer");
    fails(&["eval", "--model", &tiny, "--data", "no.txt"], 1, "no.txt", "--data");
    let adapter = [
        "eval",
        "--model",
        &tiny,
        "--data",
        &data,
        "--windows",
        "1",
        "--sequence-length",
        "8",
        "--adapter",
        "no",
    ];
    fails(&adapter, 1, "no/adapter_config.json: not found", "checkpoint-N");
    fails(
        &["train", "--model", &tiny, "--data", &data, "--output", &output, "--resume"],
        1,
        "no checkpoint",
        "--resume",
    );
    fails(
        &["train", "--model", &tiny, "--data", &data, "--output", &output, "--target-modules", "c_attn"],
        1,
        "hit none of the model's",
        "qtuner inspect",
    );
    assert!(!std::path::Path::new(&output).exists(), "a run that did not start leaves nothing");
}

#[test]
fn inputs_that_are_something_else_are_named_with_the_way_out() {
    let folder = folder();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("writable");
        text(path)
    };
    let (latin, empty, word) =
        (write("latin.txt", b"caf\xe9 au lait"), write("empty.txt", b""), write("word.txt", b"And"));
    let bad = write("bad.jsonl", b"{\n[]\n");
    let (tiny, data, directory) = (tiny(), repository("assets/kjv-tail.txt"), text(folder.path()));
    let output = text(folder.path().join("out"));
    let on = |file: &str, error: &str, hint: &str| {
        fails(&["preview", "--model", &tiny, "--data", file], 1, error, hint);
        fails(&["eval", "--model", &tiny, "--data", file], 1, error, hint);
        fails(&["train", "--model", &tiny, "--data", file, "--output", &output], 1, error, hint);
    };
    on(&latin, "not UTF-8 at byte 3", "UTF-8");
    on(&empty, "the file is empty", "--sequence-length");
    on(&word, "1 token gives no sample of 512", "--sequence-length");
    on(&bad, "none of its 2 lines can be used:\n  line 1: no JSON", "each line is one object");
    on(&directory, "directory", "--data wants a text file");
    let file = format!("{tiny}/config.json");
    fails(&["preview", "--model", &file, "--data", &data], 1, "config.json", "a folder with tokenizer.json");
    fails(&["inspect", &file], 1, "not a folder", "config.json");
    let train = ["train", "--model", &tiny, "--data", &data, "--output"];
    let train = |output: &str, more: &[&str]| {
        let arguments: Vec<String> =
            train.iter().chain([&output]).chain(more).map(|word| (*word).to_owned()).collect();
        arguments
    };
    let refused = |arguments: &[String], code: i32, error: &str, hint: &str| {
        fails(&support::strings(arguments), code, error, hint);
    };
    refused(&train(&word, &[]), 1, "word.txt: not a folder", "--output wants a folder");
    refused(&train(&directory, &["--resume"]), 1, "no checkpoint to resume", "leave out --resume");
    refused(
        &train(&output, &["--batch-size", "100000000000"]),
        2,
        "`batch_size` is 100000000000",
        "gradient",
    );
    refused(&train(&output, &["--eval-fraction", "1"]), 1, "no sample to train on", "--eval-fraction");
    refused(&train(&output, &["--learning-rate", "-1"]), 2, "`learning_rate` is -1", "--help");
    assert!(!std::path::Path::new(&output).exists(), "a run that did not start leaves nothing");
    fails(&["train", "--resume", "--output", &directory], 1, "no checkpoint to resume", "leave out --resume");
    fails(&["eval", "--model", &tiny, "--data", &data, "--batch-size", "0"], 2, "at least 1", "--help");
    fails(&["eval", "--model", &tiny, "--data", &data, "--sequence-length", "1"], 2, "at least 2", "--help");
    fails(&["generate", "--model", &tiny, "--prompt", ""], 2, "the prompt is empty", "stdin");
    fails(
        &["generate", "--model", &tiny, "--prompt", "x", "--temperature", "-1"],
        2,
        "temperature is -1",
        "--help",
    );
    fails(
        &["generate", "--model", &tiny, "--prompt", "x", "--chat"],
        1,
        "no chat template",
        "leave out --chat",
    );
    let foreign = ["--model", &repository("tests/fixtures/llama-awq"), "--tokenizer", &tiny];
    fails(
        &[&["generate", "--prompt", "In the beginning"], &foreign[..]].concat(),
        1,
        "the model has 128",
        "--tokenizer",
    );
    fails(&[&["eval", "--data", &data], &foreign[..]].concat(), 1, "the model has 128", "--tokenizer");
    fails(
        &[&["train", "--data", &data, "--output", &output], &foreign[..]].concat(),
        1,
        "the model has 128",
        "--tokenizer",
    );
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let mut child = command(&["completions", "bash"]);
    let mut child = child.stdout(std::process::Stdio::piped()).spawn().expect("the program starts");
    drop(child.stdout.take());
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}
