//! What the adapter's flags and the file say of it: patterns in their order, and what cannot be done.

mod support;

use serde_json::{Value, json};
use support::{fails, folder, strings, succeeds, text, tiny, train_arguments};

/// The ranks and scalings of the first block's layers, by a plan under these flags.
fn planned(more: &[&str]) -> Vec<(String, i64, f64)> {
    let folder = folder();
    let arguments = train_arguments(&folder.path().join("out"), 1);
    let arguments: Vec<&str> =
        strings(&arguments).into_iter().chain(["--dry-run"]).chain(more.iter().copied()).collect();
    let plan = support::json(&arguments);
    let layers = plan["layers"].as_array().expect("a list").iter();
    let row = |layer: &Value| {
        let name = layer["name"].as_str()?.strip_prefix("model.layers.0.")?;
        Some((name.to_owned(), layer["r"].as_i64()?, layer["scaling"].as_f64()?))
    };
    layers.filter_map(row).collect()
}

#[test]
fn patterns_give_some_modules_other_ranks_and_alphas() {
    let rows = |q: (i64, f64), down: (i64, f64)| {
        vec![("self_attn.q_proj".to_owned(), q.0, q.1), ("mlp.down_proj".to_owned(), down.0, down.1)]
    };
    assert_eq!(planned(&[]), rows((4, 2.0), (4, 2.0)));
    let ranks = planned(&["--rank-pattern", "q_proj=16", "--rank-pattern", "down_proj=2"]);
    assert_eq!(ranks, rows((16, 0.5), (2, 4.0)));
    assert_eq!(planned(&["--rank-pattern", "q_proj=16,down_proj=2"]), ranks);
    assert_eq!(planned(&["--alpha-pattern", "q_proj=0.5"]), rows((4, 0.125), (4, 2.0)));
}

#[test]
fn the_first_pattern_that_fits_counts_in_flags_and_in_the_file() {
    let ranks = |more: &[&str]| planned(more).iter().map(|(_, rank, _)| *rank).collect::<Vec<_>>();
    // Neither order is that of the alphabet.
    assert_eq!(ranks(&["--rank-pattern", "q_proj=16", "--rank-pattern", ".*proj=2"]), [16, 2]);
    assert_eq!(ranks(&["--rank-pattern", ".*proj=2,q_proj=16"]), [2, 2]);
    let folder = folder();
    let file = folder.path().join("run.toml");
    let path = text(&file);
    std::fs::write(&file, "rank_pattern = { q_proj = 16, \".*proj\" = 2 }\nuse_dora = false\n")
        .expect("writable");
    assert_eq!(ranks(&["--config", &path]), [16, 2]);
    assert_eq!(ranks(&["--config", &path, "--rank-pattern", "down_proj=8"]), [4, 8], "a flag beats the file");
    std::fs::write(&file, "[rank_pattern]\n\".*proj\" = 2\nq_proj = 16\n").expect("writable");
    assert_eq!(ranks(&["--config", &path]), [2, 2]);
}

#[test]
fn a_run_keeps_the_order_of_its_patterns_and_goes_on_under_it_alone() {
    let folder = folder();
    let output = folder.path().join("out");
    let arguments = train_arguments(&output, 1);
    let patterns = ["--rank-pattern", "q_proj=3", "--rank-pattern", ".*proj=2"];
    succeeds(&strings(&arguments).into_iter().chain(patterns).collect::<Vec<_>>());
    let settings = std::fs::read_to_string(output.join("run.toml")).expect("the settings");
    assert!(settings.ends_with("[rank_pattern]\nq_proj = 3\n\".*proj\" = 2\n"), "{settings}");
    let config = std::fs::read_to_string(output.join("adapter_config.json")).expect("the config");
    assert!(config.contains("\"rank_pattern\": {\n    \"q_proj\": 3,\n    \".*proj\": 2\n  }"), "{config}");
    let output = text(&output);
    let resume = ["train", "--resume", "--output", &output];
    succeeds(&resume);
    let other = [&resume[..], &["--rank-pattern", ".*proj=2,q_proj=3"]].concat();
    fails(&other, 2, "`rank_pattern` was {\"q_proj\":3,\".*proj\":2}, is", "another --output");
}

#[test]
fn what_no_format_computes_is_refused_and_what_decides_nothing_is_said() {
    let folder = folder();
    let output = text(folder.path().join("out"));
    let train = [
        "train",
        "--model",
        &tiny(),
        "--data",
        &support::repository("assets/kjv-tail.txt"),
        "--output",
        &output,
    ];
    let train = |more: &[&'static str]| train.iter().copied().chain(more.iter().copied()).collect::<Vec<_>>();
    fails(&train(&["--use-dora"]), 1, "does not support use_dora = true", "--use-dora=false");
    assert_eq!(support::json(&train(&["--use-dora=false", "--dry-run"]))["run_warnings"], json!([]));
    fails(&train(&["--rank-pattern", "q_proj"]), 2, "`q_proj` is not NAME=R", "--help");
    fails(
        &train(&["--rank-pattern", "q_proj=4", "--rank-pattern", "q_proj=8"]),
        2,
        "`q_proj` is given twice",
        "--help",
    );
    fails(&train(&["--rank-pattern", "(=4"]), 1, "rank_pattern: \"(\"", "");
    let unused = support::json(&train(&["--rank-pattern", "c_attn=4", "--dry-run"]));
    let message = unused["run_warnings"][0]["message"].as_str().expect("a sentence");
    assert_eq!(message, "`rank_pattern` has entries that decide nothing: c_attn");
}
