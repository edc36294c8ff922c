//! Folders of every form open to the same model, under Hugging Face's names, with packed tensors as they were.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use qtuner_awq::WqLinearGemm;
use qtuner_core::{LoraConfig, ModuleTree, inject_adapter};
use qtuner_models::config::{Head, LayerKind, RopeScaling};
use qtuner_models::{CausalLm, Checkpoint, DecoderConfig, GenerationOptions, OpenOptions};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use support::{file, fixture, logits, open, tensors};
use tch::{Kind, Tensor};

fn asset() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/tiny-kjv-awq")
}

#[test]
fn shards_open_to_the_model_of_the_single_file() {
    for source in ["llama-awq", "models/qwen2"] {
        let folder = file::copy(&fixture(source));
        let single = folder.path().join("model.safetensors");
        let mut shards = [BTreeMap::new(), BTreeMap::new(), BTreeMap::new()];
        let mut map = serde_json::Map::new();
        for (number, (name, entry)) in file::read(&single).into_iter().enumerate() {
            map.insert(name.clone(), json!(format!("model-{}-of-3.safetensors", number % 3)));
            shards[number % 3].insert(name, entry);
        }
        for (number, shard) in shards.iter().enumerate() {
            file::write(&folder.path().join(format!("model-{number}-of-3.safetensors")), shard);
        }
        fs::remove_file(single).unwrap();
        fs::write(folder.path().join("model.safetensors.index.json"), json!({"weight_map": map}).to_string())
            .unwrap();
        let sharded = CausalLm::open(folder.path(), &OpenOptions::default()).unwrap();
        let tokens = Tensor::from_slice(&[3_i64, 80, 7, 41]).view([1, 4]);
        assert!(logits(&sharded, &tokens).equal(&logits(&open(source), &tokens)), "{source}");
    }
}

#[test]
fn slots_and_parameters_have_the_files_names_and_the_packed_tensors_its_bytes() {
    let (model, stored) = (open("llama-awq"), tensors(fixture("llama-awq/model.safetensors")));
    let leaves = model.collect_leaves();
    let mut names = BTreeSet::new();
    for (path, slot) in &leaves.slots {
        assert_eq!(slot.path(), path.as_str());
        for (name, tensor) in slot.layer().named_tensors() {
            let name = format!("{path}.{name}");
            if slot.layer().downcast_ref::<WqLinearGemm>().is_some() {
                assert!(tensor.kind() == stored[&name].kind() && tensor.equal(&stored[&name]), "{name}");
            }
            names.insert(name);
        }
    }
    names.extend(leaves.parameters.iter().map(|(path, _)| path.to_string()));
    assert_eq!(names, stored.keys().cloned().collect());
    assert_eq!(leaves.heads.iter().map(ToString::to_string).collect::<Vec<_>>(), ["lm_head"]);

    for folder in ["models/gemma3", "models/qwen3", "models/llama-yarn", "models/qwen2"] {
        let stored = tensors(fixture(&format!("{folder}/model.safetensors")));
        let model = open(folder);
        let leaves = model.collect_leaves();
        let of_slots = leaves.slots.iter().flat_map(|(path, slot)| {
            slot.layer().named_tensors().into_iter().map(move |(name, _)| format!("{path}.{name}"))
        });
        let others = leaves.parameters.iter().map(|(path, _)| path.to_string());
        assert_eq!(
            of_slots.chain(others).collect::<BTreeSet<_>>(),
            stored.keys().cloned().collect(),
            "{folder}"
        );
    }
}

#[test]
fn all_linear_leaves_the_head_out_and_errors_name_the_slot() {
    let mut model = open("llama-awq");
    let report = inject_adapter(&mut model, &LoraConfig::new("all-linear").with_rank(2), "default").unwrap();
    assert_eq!(report.layers.len(), 14);
    let leaves = model.collect_leaves();
    let (path, slot) = &leaves.slots[0];
    let error = slot.forward(&Tensor::zeros([1, 5], (Kind::Float, tch::Device::Cpu))).unwrap_err();
    assert!(error.to_string().contains(path.as_str()), "{error}");
}

#[test]
fn a_checkpoint_lists_its_tensors_and_a_config_its_choices() {
    let checkpoint = Checkpoint::open(fixture("llama-awq")).unwrap();
    assert_eq!(checkpoint.tensors().count(), 49);
    assert_eq!(checkpoint.quantization_config().unwrap()["group_size"], 64);
    assert_eq!(checkpoint.info("model.norm.weight").unwrap().to_string(), "F16 [128]");

    let config = DecoderConfig::read(&fixture("llama-awq")).unwrap();
    assert!(matches!(config.rope.scaling, RopeScaling::Llama3 { .. }));
    assert_eq!((config.head, config.eos_token_ids), (Head::Own, vec![2]));
    let config = DecoderConfig::read(&fixture("models/gemma3")).unwrap();
    let local = |layer: &&LayerKind| **layer == LayerKind::Local;
    assert_eq!((config.head, config.layers.iter().filter(local).count()), (Head::Tied, 5));
}

/// Configs of transformers 4 say the same in other keys.
#[test]
fn older_spellings_of_a_config_mean_the_same() {
    let rope = |theta: f64, factor: f64| json!({"type": "linear", "factor": factor, "rope_theta": theta});
    let folder = file::copy(&fixture("models/gemma3-capped"));
    let new = DecoderConfig::read(folder.path()).unwrap();
    file::edit_json(&folder.path().join("config.json"), |config| {
        let keys = config.as_object_mut().unwrap();
        for key in
            ["rope_parameters", "tie_word_embeddings", "query_pre_attn_scalar", "_sliding_window_pattern"]
        {
            assert!(keys.remove(key).is_some());
        }
        keys.insert("rope_theta".to_owned(), json!(1e6));
        keys.insert("rope_local_base_freq".to_owned(), json!(10_000));
        keys.insert("rope_scaling".to_owned(), rope(1.0, 8.0));
    });
    assert_eq!(DecoderConfig::read(folder.path()).unwrap(), new);
    file::edit_json(&folder.path().join("config.json"), |config| {
        config.as_object_mut().unwrap().remove("layer_types");
        config["sliding_window_pattern"] = json!(2);
    });
    assert_eq!(DecoderConfig::read(folder.path()).unwrap(), new);
}

#[test]
fn the_shipped_model_continues_as_the_bible_does() {
    let model = CausalLm::open(asset(), &OpenOptions::default()).unwrap();
    assert_eq!((model.vocab_size(), model.hidden_size()), (4096, 256));
    let options = GenerationOptions { max_new_tokens: CONTINUATION.len(), ..GenerationOptions::default() };
    let texts = model.generate(&[PROMPT.to_vec()], &options, |_, _| ControlFlow::Continue(())).unwrap();
    assert_eq!(texts[0], CONTINUATION);
    let half = OpenOptions { compute: Kind::BFloat16, ..OpenOptions::default() };
    let model = CausalLm::open(asset(), &half).unwrap();
    assert_eq!(logits(&model, &Tensor::from_slice(&PROMPT).unsqueeze(0)).kind(), Kind::BFloat16);
}

/// `First Citizen:`
const PROMPT: [i64; 3] = [1538, 2925, 27];
/// ` \nAnd all the people that were in the midst of the earth, \nAnd all the host of ...`, as transformers continues it.
const CONTINUATION: [i64; 36] = [
    222, 200, 306, 363, 260, 517, 308, 445, 292, 260, 1247, 273, 260, 661, 13, 222, 200, 306, 363, 260, 1026,
    273, 260, 1150, 13, 269, 363, 260, 1026, 222, 200, 749, 363, 260, 1026, 273,
];
