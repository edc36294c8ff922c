//! What is odd and no failure: said on stderr, and in the JSON of a plan, and nothing where nothing is.

mod support;

use serde_json::json;
use support::{folder, repository, strings, succeeds, text, tiny, train_arguments};

/// The sentences of a plan under these flags.
fn planned(more: &[&str]) -> Vec<String> {
    let folder = folder();
    let arguments = train_arguments(&folder.path().join("out"), 4);
    let arguments: Vec<&str> =
        strings(&arguments).into_iter().chain(["--dry-run"]).chain(more.iter().copied()).collect();
    let plan = support::json(&arguments);
    let warnings = plan["run_warnings"].as_array().expect("a list").iter();
    warnings.map(|warning| warning["message"].as_str().expect("a sentence").to_owned()).collect()
}

#[test]
fn options_of_a_run_that_decide_nothing_are_said() {
    let idle = "there is nothing to evaluate on, whatever --eval-every and --eval-batch-size may say";
    assert_eq!(planned(&["--eval-every", "2", "--eval-batch-size", "1"]), [idle]);
    assert_eq!(planned(&["--eval-every", "2", "--eval-fraction", "0.1"]), [""; 0]);
    let rises = "`warmup_steps` is 4, of 4 steps: the learning rate only rises";
    assert_eq!(planned(&["--warmup-steps", "4"]), [rises]);
    assert_eq!(planned(&["--warmup-steps", "3"]), [""; 0]);
}

#[test]
fn options_of_sampling_without_a_temperature_are_said() {
    let said = |more: &[&str]| {
        let generate = ["generate", "--model", &tiny(), "--prompt", "In the", "--max-new-tokens", "1"];
        succeeds(&[&generate[..], more].concat()).stderr
    };
    let drawn = said(&["--top-k", "5", "--seed", "3"]);
    assert!(
        drawn.starts_with("warning: nothing is drawn at temperature 0, whatever --top-k and --seed"),
        "{drawn}"
    );
    assert_eq!(said(&["--top-k", "5", "--seed", "3", "--temperature", "1"]), "");
    assert_eq!(said(&["--repetition-penalty", "1.1"]), "", "which the likeliest token depends on");
}

#[test]
fn texts_beyond_the_models_context_are_said() {
    let beyond = "and the model's context is 1024";
    let rows = folder();
    let short = "{\"text\": \"In the beginning\"}\n".repeat(400);
    let path = rows.path().join("short.jsonl");
    std::fs::write(&path, short).expect("writable");
    let data = repository("assets/kjv-tail.txt");
    let eval = |data: &str, tokens: &str| {
        let eval =
            ["eval", "--model", &tiny(), "--windows", "1", "--data", data, "--sequence-length", tokens];
        succeeds(&eval).stderr
    };
    assert!(eval(&data, "1025").contains(&format!("a text of 1025 tokens, {beyond}")));
    assert_eq!(eval(&data, "1024"), "");
    assert_eq!(eval(&text(&path), "1025"), "", "a row of many documents, each from its first position");
    let long = std::fs::read_to_string(&data).expect("a text").chars().take(8000).collect::<String>();
    let generate = ["generate", "--model", &tiny(), "--max-new-tokens", "1", "--prompt", &long];
    assert!(succeeds(&generate).stderr.contains(beyond));
    let train = ["train", "--model", &tiny(), "--data", &data, "--output", &text(rows.path().join("out"))];
    let plan = support::json(&[&train[..], &["--sequence-length", "1025", "--dry-run"]].concat());
    assert_eq!(plan["run_warnings"][0]["message"], json!(format!("a text of 1025 tokens, {beyond}")));
}

#[test]
fn what_a_run_would_refuse_a_plan_refuses() {
    let folder = folder();
    let arguments = train_arguments(&folder.path().join("out"), 4);
    let refused = |more: &[&str], code: i32, error: &str, hint: &str| {
        let plan = strings(&arguments).into_iter().chain(["--dry-run"]).chain(more.iter().copied());
        support::fails(&plan.collect::<Vec<_>>(), code, error, hint);
    };
    refused(&["--eval-fraction", "1"], 1, "no sample to train on", "--eval-fraction");
    refused(&["--eval-data", "no.txt"], 1, "no.txt", "--eval-data wants a text file");
    support::fails(
        &[&["train", "--r=0", "--model", "m", "--data", "d"][..], &["--output", "o", "--dry-run"]].concat(),
        2,
        "`r` is 0, expected at least 1",
        "--help",
    );
}

#[test]
fn an_adapter_that_no_layer_would_take_is_odd() {
    let odd = |change: &dyn Fn(&mut serde_json::Value)| {
        let folder = folder();
        let from = repository("tests/fixtures/llama-awq-adapter");
        for file in ["adapter_config.json", "adapter_model.safetensors"] {
            std::fs::copy(format!("{from}/{file}"), folder.path().join(file)).expect("a copy");
        }
        let path = folder.path().join("adapter_config.json");
        let mut config = serde_json::from_slice(&std::fs::read(&path).expect("a config")).expect("JSON");
        change(&mut config);
        std::fs::write(&path, config.to_string()).expect("writable");
        support::json(&["inspect", &text(folder.path())])["odd"].clone()
    };
    assert_eq!(odd(&|_| ()), json!([]));
    let check = |change: &dyn Fn(&mut serde_json::Value), part: &str| {
        let odd = odd(change);
        assert!(odd[0].as_str().is_some_and(|odd| odd.contains(part)), "{part}: {odd}");
    };
    check(
        &|config| config["r"] = json!(0),
        "it cannot be used: module model.layers.0.mlp.down_proj: the rank is 0",
    );
    check(&|config| config["r"] = json!(3), "and the config says rank 3");
    check(&|config| config["use_dora"] = json!(true), "no format here computes DoRA");
    check(&|config| config["target_modules"] = json!(null), "target_modules are not given");
}

#[test]
fn an_adapter_folder_that_lacks_a_file_or_has_a_damaged_one_is_refused() {
    let folder = folder();
    let from = repository("tests/fixtures/llama-awq-adapter");
    let (tensors, config) =
        (folder.path().join("adapter_model.safetensors"), folder.path().join("adapter_config.json"));
    let refused =
        |error: &str| support::fails(&["inspect", &text(folder.path())], 1, error, "as PEFT writes them");
    std::fs::copy(format!("{from}/adapter_model.safetensors"), &tensors).expect("a copy");
    refused("adapter_config.json: not found; expected a folder with");
    std::fs::copy(format!("{from}/adapter_config.json"), &config).expect("a copy");
    std::fs::write(&tensors, [1; 20]).expect("writable");
    refused("adapter_model.safetensors: not a whole safetensors file: ");
    std::fs::remove_file(&tensors).expect("it was there");
    refused("adapter_model.safetensors: not found");
}
