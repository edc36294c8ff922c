//! Folders that are no models: each damage is a typed error that names the file and the tensor or key.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use qtuner_awq as _;

mod support;

use proptest::prelude::*;
use qtuner_core::{Registry, dense};
use qtuner_models::{CausalLm, OpenOptions};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use support::file::{self, Entry};
use support::fixture;

/// What is done to a copy of a folder, and what the error says.
type Case = (&'static str, &'static str, Box<dyn Fn(&Path)>, &'static [&'static str]);

fn case(name: &'static str, damage: impl Fn(&Path) + 'static, says: &'static [&'static str]) -> Case {
    (name, "llama-awq", Box::new(damage), says)
}

/// An edit of `config.json`.
fn config(name: &'static str, edit: impl Fn(&mut Value) + 'static, says: &'static [&'static str]) -> Case {
    case(name, move |folder| file::edit_json(&folder.join("config.json"), &edit), says)
}

/// An edit of the tensors in `model.safetensors`.
fn tensors(
    name: &'static str,
    edit: impl Fn(&mut BTreeMap<String, Entry>) + 'static,
    says: &'static [&'static str],
) -> Case {
    let damage = move |folder: &Path| {
        let path = folder.join("model.safetensors");
        let mut tensors = file::read(&path);
        edit(&mut tensors);
        file::write(&path, &tensors);
    };
    case(name, damage, says)
}

/// An edit of the header of `model.safetensors` alone.
fn header(
    name: &'static str,
    key: &'static str,
    value: fn() -> Value,
    says: &'static [&'static str],
) -> Case {
    let edit = move |folder: &Path| {
        file::edit_header(&folder.join("model.safetensors"), |header| header[NORM][key] = value());
    };
    case(name, edit, says)
}

const NORM: &str = "model.norm.weight";
const Q: &str = "model.layers.0.self_attn.q_proj";

fn zeros(dtype: &str, shape: &[i64]) -> Entry {
    let size = match dtype {
        "U8" => 1,
        "F16" | "I16" => 2,
        _ => 4,
    };
    (
        dtype.to_owned(),
        shape.to_vec(),
        vec![0; usize::try_from(shape.iter().product::<i64>()).unwrap() * size],
    )
}

/// The tensors of `q_proj` (in 128, out 128, group 64) in another layout.
fn layout(
    name: &'static str,
    parts: &'static [(&'static str, &'static str, &'static [i64])],
    says: &'static [&'static str],
) -> Case {
    let edit = move |tensors: &mut BTreeMap<String, Entry>| {
        tensors.retain(|name, _| !name.starts_with(Q));
        for (part, dtype, shape) in parts {
            tensors.insert(format!("{Q}.{part}"), zeros(dtype, shape));
        }
    };
    tensors(name, edit, says)
}

fn index(folder: &Path, weight_map: &Value) {
    fs::rename(folder.join("model.safetensors"), folder.join("one.safetensors")).unwrap();
    let text = json!({"weight_map": weight_map}).to_string();
    fs::write(folder.join("model.safetensors.index.json"), text).unwrap();
}

#[track_caller]
fn refused(name: &str, folder: &Path, says: &[&str]) {
    let error = CausalLm::open(folder, &OpenOptions::default());
    let error = error.expect_err(name).to_string();
    println!("{name}: {error}");
    for part in says {
        assert!(error.contains(part), "{name}: no {part:?} in: {error}");
    }
}

fn check(cases: Vec<Case>) {
    for (name, source, damage, says) in cases {
        let folder = file::copy(&fixture(source));
        damage(folder.path());
        refused(name, folder.path(), says);
    }
}

#[test]
fn files_that_are_missing_or_not_whole() {
    let weights = |folder: &Path| folder.join("model.safetensors");
    let truncate = move |folder: &Path| {
        let bytes = fs::read(weights(folder)).unwrap();
        fs::write(weights(folder), &bytes[..bytes.len() - 100]).unwrap();
    };
    let huge = move |folder: &Path| {
        let mut bytes = fs::read(weights(folder)).unwrap();
        bytes[..8].copy_from_slice(&u64::MAX.to_le_bytes());
        fs::write(weights(folder), bytes).unwrap();
    };
    check(vec![
        case(
            "no config",
            |folder| fs::remove_file(folder.join("config.json")).unwrap(),
            &["config.json: not found"],
        ),
        case(
            "no JSON",
            |folder| fs::write(folder.join("config.json"), "{").unwrap(),
            &["config.json: not JSON"],
        ),
        case(
            "no object",
            |folder| fs::write(folder.join("config.json"), "[]").unwrap(),
            &["expected a JSON object"],
        ),
        case(
            "no text",
            |folder| fs::write(folder.join("config.json"), [0xff]).unwrap(),
            &["config.json: not UTF-8"],
        ),
        case(
            "no weights",
            move |folder| fs::remove_file(weights(folder)).unwrap(),
            &["model.safetensors: not found"],
        ),
        case(
            "a pickle",
            move |folder| fs::rename(weights(folder), folder.join("pytorch_model.bin")).unwrap(),
            &["is a pickle", "safe_serialization=True"],
        ),
        case(
            "an empty file",
            move |folder| fs::write(weights(folder), "").unwrap(),
            &["model.safetensors: not a whole"],
        ),
        case("a truncated file", truncate, &["model.safetensors: not a whole safetensors file"]),
        case("a huge header", huge, &["model.safetensors: not a whole safetensors file"]),
        header(
            "offsets that overlap",
            "data_offsets",
            || json!([0, 256]),
            &["model.safetensors: not a whole"],
        ),
        header(
            "offsets that end early",
            "data_offsets",
            || json!([8, 4]),
            &["model.safetensors: not a whole"],
        ),
        header("a shape that lies", "shape", || json!([4096]), &["model.safetensors: not a whole"]),
        header(
            "a shape that overflows",
            "shape",
            || json!([u64::MAX, 2]),
            &["model.safetensors: not a whole"],
        ),
        header("a dtype that lies", "dtype", || json!("F64"), &["model.safetensors: not a whole"]),
    ]);
}

#[test]
fn shards_that_the_index_names_wrongly() {
    check(vec![
        case(
            "a missing shard",
            |folder| index(folder, &json!({NORM: "two.safetensors"})),
            &["two.safetensors: not found", "which the index names"],
        ),
        case(
            "a tensor that is not there",
            |folder| index(folder, &json!({"model.nothing": "one.safetensors"})),
            &["one.safetensors: tensor `model.nothing` is missing", "index.json places it there"],
        ),
        case(
            "a shard elsewhere",
            |folder| index(folder, &json!({NORM: "../one.safetensors"})),
            &["index.json", NORM, "../one.safetensors", "beside the index"],
        ),
        case("no map", |folder| index(folder, &json!(3)), &["index.json: key `weight_map` is missing"]),
        case(
            "tensors left out",
            |folder| index(folder, &json!({NORM: "one.safetensors"})),
            &["tensor `model.embed_tokens.weight` is missing"],
        ),
    ]);
}

#[test]
fn configs_that_cannot_be_used() {
    let remove =
        |key: &'static str| move |config: &mut Value| drop(config.as_object_mut().unwrap().remove(key));
    let set = |key: &'static str, value: Value| move |config: &mut Value| config[key] = value.clone();
    let rope = |value: Value| move |config: &mut Value| config["rope_scaling"] = value.clone();
    check(vec![
        config(
            "no hidden_size",
            remove("hidden_size"),
            &["config.json: key `hidden_size` is missing, expected a positive"],
        ),
        config("no model_type", remove("model_type"), &["key `model_type` is missing"]),
        config(
            "an unknown model_type",
            set("model_type", json!("mamba")),
            &["model_type \"mamba\" is not supported", "llama, mistral, qwen2, qwen3, gemma3_text"],
        ),
        config("a size below zero", set("hidden_size", json!(-1)), &["key `hidden_size` is -1"]),
        config(
            "a size above all",
            set("vocab_size", json!(1_u64 << 40)),
            &["key `vocab_size` is 1099511627776"],
        ),
        config("a size in words", set("vocab_size", json!("many")), &["key `vocab_size` is \"many\""]),
        config(
            "layers without end",
            set("num_hidden_layers", json!(1_000_000)),
            &["num_hidden_layers", "at most 4096"],
        ),
        config(
            "more layers than files",
            set("num_hidden_layers", json!(3)),
            &["model.layers.2.self_attn.q_proj.weight` is missing"],
        ),
        config(
            "heads that do not divide",
            set("num_key_value_heads", json!(3)),
            &["num_key_value_heads", "a divisor of 4"],
        ),
        config("an odd head", set("head_dim", json!(33)), &["head_dim", "even"]),
        config(
            "another head",
            set("head_dim", json!(16)),
            &[Q, "in_features=128, out_features=64 by config.json"],
        ),
        config(
            "another vocabulary",
            set("vocab_size", json!(127)),
            &["tensor `model.embed_tokens.weight` has F16 [128, 128]", "[127, 128]"],
        ),
        config("an activation", set("hidden_act", json!("relu6")), &["key `hidden_act` is \"relu6\""]),
        config(
            "a rope",
            rope(json!({"rope_type": "longrope"})),
            &["key `rope_scaling.rope_type` is \"longrope\"", "yarn"],
        ),
        config(
            "half a rope",
            rope(json!({"rope_type": "llama3"})),
            &["key `rope_scaling.low_freq_factor` is missing"],
        ),
        config(
            "a rope of nothing",
            rope(json!({"type": "linear", "factor": 0})),
            &["key `rope_scaling.factor` is 0"],
        ),
        config("missing biases", set("attention_bias", json!(true)), &["q_proj.bias` is missing"]),
        config(
            "a group size",
            |config| config["quantization_config"]["group_size"] = json!(32),
            &[Q, "group_size 64", "group_size = 32"],
        ),
        config("bits", |config| config["quantization_config"]["bits"] = json!(3), &[Q, "4 bits", "bits = 3"]),
        config("no object", set("quantization_config", json!(4)), &["key `quantization_config` is 4"]),
    ]);
}

#[test]
fn the_quantization_config_is_found_in_its_older_files() {
    for file in ["quant_config.json", "quantize_config.json"] {
        let folder = file::copy(&fixture("llama-awq"));
        file::edit_json(&folder.path().join("config.json"), |config| {
            config.as_object_mut().unwrap().remove("quantization_config");
        });
        CausalLm::open(folder.path(), &OpenOptions::default()).unwrap();
        fs::write(folder.path().join(file), r#"{"w_bit": 4, "q_group_size": 32, "version": "GEMM"}"#)
            .unwrap();
        refused(file, folder.path(), &["group_size 64", "group_size = 32"]);
    }
}

#[test]
fn tensors_that_are_missing_or_damaged() {
    let remove =
        |name: String| move |tensors: &mut BTreeMap<String, Entry>| drop(tensors.remove(&name).unwrap());
    let nan = |tensors: &mut BTreeMap<String, Entry>| {
        let scales = &mut tensors.get_mut(&format!("{Q}.scales")).unwrap().2;
        scales[..2].copy_from_slice(&[0x00, 0x7e]);
    };
    let swap = |tensors: &mut BTreeMap<String, Entry>| {
        let k = "model.layers.0.self_attn.k_proj";
        for part in ["qweight", "qzeros", "scales"] {
            let other = tensors[&format!("{k}.{part}")].clone();
            tensors.insert(format!("{Q}.{part}"), other);
        }
    };
    let bytes = |tensors: &mut BTreeMap<String, Entry>| {
        tensors.insert("lm_head.weight".to_owned(), zeros("U8", &[128, 128]));
    };
    let flat = |tensors: &mut BTreeMap<String, Entry>| {
        tensors.insert(format!("{Q}.qweight"), zeros("I32", &[2048]));
    };
    let norm =
        |tensors: &mut BTreeMap<String, Entry>| drop(tensors.insert(NORM.to_owned(), zeros("F16", &[64])));
    let integers =
        |tensors: &mut BTreeMap<String, Entry>| drop(tensors.insert(NORM.to_owned(), zeros("I32", &[128])));
    check(vec![
        tensors("no norm", remove(NORM.to_owned()), &["tensor `model.norm.weight` is missing"]),
        tensors("no head", remove("lm_head.weight".to_owned()), &["tensor `lm_head.weight` is missing"]),
        tensors(
            "a short norm",
            norm,
            &["model.safetensors: tensor `model.norm.weight` has F16 [64], expected a floating [128]"],
        ),
        tensors("a norm of integers", integers, &["tensor `model.norm.weight` has I32 [128]"]),
        tensors("scales that are not finite", nan, &["model.safetensors", Q, "`scales`", "not finite"]),
        tensors(
            "no zeros",
            remove(format!("{Q}.qzeros")),
            &["model.safetensors", "q_proj.qzeros` is missing"],
        ),
        tensors("no scales", remove(format!("{Q}.scales")), &["q_proj.scales` is missing"]),
        tensors("no codes", remove(format!("{Q}.qweight")), &["q_proj.qweight` is missing, found qzeros"]),
        tensors("a weight of bytes", bytes, &["`lm_head`: awq: no backend linked", "weight U8 [128, 128]"]),
        tensors("a flat qweight", flat, &[Q, "tensor `qweight` has Int [2048]"]),
        tensors(
            "another layer's tensors",
            swap,
            &[Q, "out_features=64", "expected in_features=128, out_features=128"],
        ),
    ]);
}

#[test]
fn other_formats_are_refused_by_name_with_the_way_out() {
    check(vec![
        layout(
            "gemv",
            &[("qweight", "I32", &[128, 16]), ("qzeros", "I32", &[128, 2]), ("scales", "F16", &[128, 16])],
            &[Q, "awq gemv format", "GEMM"],
        ),
        layout(
            "gemv_fast",
            &[("qweight", "I16", &[32, 128]), ("qzeros", "F16", &[8, 128]), ("scales", "F16", &[8, 128])],
            &[Q, "awq gemv_fast", "GEMM"],
        ),
        layout(
            "llm-awq",
            &[
                ("qweight", "I16", &[32, 128]),
                ("scaled_zeros", "F16", &[8, 128]),
                ("scales", "F16", &[8, 128]),
            ],
            &[Q, "awq gemv_fast (llm-awq)"],
        ),
        layout(
            "marlin",
            &[("qweight", "I32", &[8, 256]), ("scales", "F16", &[2, 128])],
            &[Q, "awq marlin", "GEMM"],
        ),
        layout(
            "exllama",
            &[("qweight", "I32", &[16, 128]), ("qzeros", "I32", &[2, 16]), ("scales", "F16", &[2, 128])],
            &[Q, "awq exllama", "GEMM"],
        ),
        layout(
            "3 bits",
            &[("qweight", "I32", &[128, 12]), ("qzeros", "I32", &[2, 12]), ("scales", "F16", &[2, 128])],
            &[Q, "awq 3-bit", "4 bits"],
        ),
        layout(
            "gptq",
            &[
                ("qweight", "I32", &[16, 128]),
                ("qzeros", "I32", &[2, 16]),
                ("scales", "F16", &[2, 128]),
                ("g_idx", "I32", &[128]),
            ],
            &[Q, "gptq: no backend linked", "linked: awq, linear", "qtuner-gptq"],
        ),
        layout(
            "bitsandbytes",
            &[("weight", "U8", &[8192, 1]), ("weight.absmax", "F32", &[256])],
            &[Q, "bitsandbytes: no backend linked", "qtuner-nf4"],
        ),
        layout(
            "compressed-tensors",
            &[("weight_packed", "I32", &[128, 16]), ("weight_scale", "F16", &[128, 2])],
            &[Q, "compressed-tensors: no backend linked", "no backend crate"],
        ),
    ]);
}

#[test]
fn a_square_gemv_is_told_from_a_gemm_by_the_version() {
    // In 8, out 128, group 8: the one shape of codes that both have.
    let parts: &[(&str, &str, &[i64])] =
        &[("qweight", "I32", &[128, 16]), ("qzeros", "I32", &[128, 16]), ("scales", "F16", &[128, 128])];
    let (_, source, damage, _) = layout("ambiguous", parts, &[]);
    let folder = file::copy(&fixture(source));
    damage(folder.path());
    refused("as gemm", folder.path(), &["group_size 1", "group_size = 64"]);
    file::edit_json(&folder.path().join("config.json"), |config| {
        config["quantization_config"]["version"] = json!("gemv");
    });
    refused("as gemv", folder.path(), &["awq gemv format"]);
}

#[test]
fn without_its_backend_a_checkpoint_is_refused_with_the_line_to_add() {
    let registry = Registry::new([dense::DISPATCHER]).unwrap();
    let options = OpenOptions { registry: Some(&registry), ..OpenOptions::default() };
    let error = CausalLm::open(fixture("llama-awq"), &options).unwrap_err().to_string();
    for part in [Q, "model.safetensors", "awq: no backend linked", "linked: linear", "use qtuner_awq as _;"] {
        assert!(error.contains(part), "no {part:?} in: {error}");
    }
    let integer = OpenOptions { compute: tch::Kind::Int, ..OpenOptions::default() };
    assert!(CausalLm::open(fixture("llama-awq"), &integer).unwrap_err().to_string().contains("BFloat16"));
}

#[test]
fn tensors_that_the_model_has_no_place_for_are_no_error() {
    let folder = file::copy(&fixture("llama-awq"));
    let path = folder.path().join("model.safetensors");
    let mut tensors = file::read(&path);
    tensors.insert("model.layers.0.self_attn.rotary_emb.inv_freq".to_owned(), zeros("F32", &[16]));
    file::write(&path, &tensors);
    CausalLm::open(folder.path(), &OpenOptions::default()).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_header_with_a_changed_byte_opens_or_is_an_error(position in 0_usize..8000, byte in any::<u8>()) {
        let folder = file::copy(&fixture("llama-awq"));
        let path = folder.path().join("model.safetensors");
        let mut bytes = fs::read(&path).unwrap();
        bytes[position] = byte;
        fs::write(&path, bytes).unwrap();
        if let Err(error) = CausalLm::open(folder.path(), &OpenOptions::default()) {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}
