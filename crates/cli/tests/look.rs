//! The commands that only look: `backends`, `env`, `inspect`, `preview`, `completions`.

mod support;

use support::{json, repository, succeeds, tiny};

#[test]
fn backends_are_listed_in_the_order_they_are_asked() {
    let names: Vec<_> =
        json(&["backends"]).as_array().expect("a list").iter().map(|b| b["name"].clone()).collect();
    assert_eq!(names, ["awq", "linear"]);
    assert!(succeeds(&["backends"]).stdout.contains("qtuner-awq"));
}

#[test]
fn the_environment_names_what_a_report_needs() {
    let environment = json(&["env", "--threads", "1"]);
    assert_eq!(environment["threads"], 1);
    assert_eq!(environment["qtuner"], env!("CARGO_PKG_VERSION"));
    assert_eq!(environment["instruction_sets"][0], "portable");
    assert!(
        environment["libtorch"]["version"].as_str().is_some_and(|version| version.starts_with("2.")),
        "{environment}"
    );
    assert!(succeeds(&["env"]).stdout.contains("instruction sets"));
}

#[test]
fn a_checkpoint_is_described_with_the_backend_of_each_layer() {
    let report = json(&["inspect", &tiny()]);
    assert_eq!(report["kind"], "checkpoint");
    assert_eq!(report["architecture"]["blocks"], 6);
    assert_eq!(report["odd"], serde_json::json!([]));
    let layers = report["layers"].as_array().expect("a list");
    assert_eq!(layers.len(), 7);
    for layer in layers {
        assert_eq!(
            (&layer["backend"], &layer["count"], &layer["group_size"]),
            (&"awq".into(), &6.into(), &128.into())
        );
    }
    let text = succeeds(&["inspect", &tiny()]).stdout;
    assert!(text.contains("model.layers.*.self_attn.q_proj") && text.contains("odd: nothing"), "{text}");
}

#[test]
fn a_model_without_a_tokenizer_is_odd_and_opens() {
    let report = json(&["inspect", &repository("tests/fixtures/llama-awq")]);
    assert!(report["opened_in_seconds"].is_number());
    assert!(report["odd"][0].as_str().is_some_and(|odd| odd.contains("tokenizer.json")), "{report}");
}

#[test]
fn an_adapter_is_described() {
    let report = json(&["inspect", &repository("tests/fixtures/llama-awq-adapter")]);
    assert_eq!(
        (&report["kind"], &report["modules"], &report["tensors"]),
        (&"adapter".into(), &14.into(), &28.into())
    );
    assert_eq!(report["odd"], serde_json::json!([]), "a trained adapter whose base is named by no path");
    assert_eq!(report["training"], serde_json::Value::Null, "PEFT wrote it");
}

#[test]
fn a_preview_shows_each_token_and_whether_it_counts() {
    let folder = support::folder();
    let data = folder.path().join("data.jsonl");
    std::fs::write(&data, "{\"prompt\": \"In the\", \"completion\": \" beginning\"}\n").expect("writable");
    let preview =
        json(&["preview", "--model", &tiny(), "--data", &support::text(&data), "--sequence-length", "16"]);
    let tokens = preview["samples"][0]["tokens"].as_array().expect("a list");
    let text: String = tokens.iter().filter_map(|token| token["text"].as_str()).collect();
    assert!(text.starts_with("In the beginning"), "{text}");
    assert_eq!(tokens[0]["loss"], false);
    assert_eq!(tokens.last().map(|token| &token["loss"]), Some(&true.into()));
}

#[test]
fn completions_are_a_script() {
    assert!(succeeds(&["completions", "bash"]).stdout.contains("complete -F _qtuner"));
}
