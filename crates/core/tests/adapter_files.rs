//! PEFT's two files: written as PEFT writes them, read whole or not at all.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use qtuner_core::{
    AdapterFileError, Bias, LoraConfig, Mode, ModuleTree, Trainability, inject_adapter, load_adapter, model,
    save_adapter, save_adapters,
};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use support::{CPU, Model, WIDTH, fingerprint, input, perturb};
use tch::{Kind, Tensor};

fn config() -> LoraConfig {
    LoraConfig::new(["q_proj", "v_proj"]).with_rank(2).with_lora_alpha(4)
}

/// A model with one trained adapter.
fn trained(config: &LoraConfig, name: &str) -> Model {
    let mut model = Model::new(2);
    inject_adapter(&mut model, config, name).unwrap();
    perturb(&mut model, name, 0.5);
    model
}

fn tensors(folder: &Path) -> BTreeMap<String, Tensor> {
    Tensor::read_safetensors(folder.join("adapter_model.safetensors")).unwrap().into_iter().collect()
}

#[test]
fn an_adapter_loads_back_with_the_same_outputs() {
    for bias in [Bias::None, Bias::LoraOnly, Bias::All] {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config().with_bias(bias).with_rank_pattern([(r"layers\.1\..*", 3)]);
        config.lora_bias = true;
        let source = trained(&config, "default");
        if bias != Bias::None {
            let trained = source.layers[0].self_attn.q_proj.layer().innermost().bias().unwrap();
            let _ = tch::no_grad(|| trained.shallow_clone().fill_(0.25));
        }
        save_adapter(&source, "default", folder.path()).unwrap();
        let mut target = Model::new(2);
        let report = load_adapter(&mut target, folder.path(), "default", Trainability::Trainable).unwrap();
        assert_eq!(report.injection.layers.len(), 4);
        assert_eq!(target.forward(&input()), source.forward(&input()), "{bias:?}");
        assert_eq!(report.tensors, tensors(folder.path()).len());
    }
}

#[test]
fn names_and_shapes_are_pefts() {
    let folder = tempfile::tempdir().unwrap();
    let mut with_bias = config().with_bias(Bias::LoraOnly);
    with_bias.lora_bias = true;
    save_adapter(&trained(&with_bias, "default"), "default", folder.path()).unwrap();
    let tensors = tensors(folder.path());
    let module = "base_model.model.model.layers.1.self_attn.v_proj";
    for (name, size) in [
        ("lora_A.weight", vec![2, WIDTH]),
        ("lora_B.weight", vec![WIDTH, 2]),
        ("lora_B.bias", vec![WIDTH]),
        ("base_layer.bias", vec![WIDTH]),
    ] {
        let tensor = &tensors[&format!("{module}.{name}")];
        assert_eq!((tensor.size(), tensor.kind()), (size, Kind::Float));
    }
    assert_eq!(tensors.len(), 16);
    let json: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(folder.path().join("adapter_config.json")).unwrap())
            .unwrap();
    assert_eq!(json["r"], 2);
    assert_eq!(json["inference_mode"], true);
    assert_eq!(json["target_modules"], serde_json::json!(["q_proj", "v_proj"]));
    let bytes = fs::read(folder.path().join("adapter_model.safetensors")).unwrap();
    let header = String::from_utf8_lossy(&bytes[8..64]).into_owned();
    assert!(header.starts_with(r#"{"__metadata__":{"format":"pt"}"#), "{header}");
}

#[test]
fn the_same_adapter_always_gives_the_same_bytes() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let model = trained(&config(), "default");
    for folder in &folders {
        save_adapter(&model, "default", folder.path()).unwrap();
        // Saving over a file that is there gives the same, too.
        save_adapter(&model, "default", folder.path()).unwrap();
    }
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        let [first, second] = folders.each_ref().map(|folder| fs::read(folder.path().join(file)).unwrap());
        assert_eq!(first, second, "{file}");
    }
    let names: Vec<_> =
        fs::read_dir(folders[0].path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "nothing is left beside the files: {names:?}");
}

#[test]
fn adapter_names_have_no_influence_on_the_files() {
    let mut expected = None;
    for name in ["default", "default2", "other_default", "weight", "bias", "lora", "self_attn", "a"] {
        let mut model = Model::new(1);
        inject_adapter(&mut model, &config(), name).unwrap();
        inject_adapter(&mut model, &config(), "and_another").unwrap();
        let leaves = model.collect_leaves();
        for (_, slot) in leaves.slots.iter().filter(|(path, _)| path.as_str().ends_with("_proj")) {
            if let Some(lora) = slot.layer().as_lora() {
                let _guard = tch::no_grad_guard();
                let _ = lora.lora_a(name).unwrap().shallow_clone().fill_(0.5);
                let _ = lora.lora_b(name).unwrap().shallow_clone().fill_(0.25);
            }
        }
        drop(leaves);
        let folder = tempfile::tempdir().unwrap();
        save_adapter(&model, name, folder.path()).unwrap();
        let bytes = fs::read(folder.path().join("adapter_model.safetensors")).unwrap();
        assert_eq!(*expected.get_or_insert(bytes.clone()), bytes, "{name}");
    }
}

#[test]
fn several_adapters_are_saved_in_pefts_layout() {
    let mut model = trained(&config(), "default");
    inject_adapter(&mut model, &LoraConfig::new(["up_proj"]).with_rank(1), "second").unwrap();
    let folder = tempfile::tempdir().unwrap();
    save_adapters(&model, folder.path()).unwrap();
    assert_eq!(tensors(folder.path()).len(), 8);
    assert_eq!(tensors(&folder.path().join("second")).len(), 4);
    let mut target = Model::new(2);
    load_adapter(&mut target, folder.path(), "default", Trainability::Frozen).unwrap();
    load_adapter(&mut target, folder.path().join("second"), "second", Trainability::Frozen).unwrap();
    assert_eq!(model::active_adapters(&target), ["default"], "a further adapter waits");
    assert_eq!(target.forward(&input()), model.forward(&input()));
}

#[test]
fn a_frozen_adapter_does_not_train_and_drops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let config = config().with_lora_dropout(0.5).with_bias(Bias::All);
    save_adapter(&trained(&config, "default"), "default", folder.path()).unwrap();
    let mut frozen = Model::new(2);
    let report = load_adapter(&mut frozen, folder.path(), "default", Trainability::Frozen).unwrap();
    assert_eq!(report.injection.trainable, 0);
    assert_eq!(frozen.layers[0].self_attn.q_proj.layer().as_tuner().unwrap().mode(), Mode::Eval);
    assert_eq!(frozen.forward(&input()), frozen.forward(&input()));
    let mut trainable = Model::new(2);
    let report = load_adapter(&mut trainable, folder.path(), "default", Trainability::Trainable).unwrap();
    assert_eq!(report.injection.trainable, 4 * 2 * (WIDTH + WIDTH) + 6 * WIDTH + 10);
}

#[test]
fn half_precision_files_become_f32_adapters() {
    let folder = tempfile::tempdir().unwrap();
    save_adapter(&trained(&config(), "default"), "default", folder.path()).unwrap();
    for kind in [Kind::Half, Kind::BFloat16, Kind::Double] {
        let halves: Vec<_> =
            tensors(folder.path()).into_iter().map(|(name, tensor)| (name, tensor.to_kind(kind))).collect();
        let named: Vec<_> = halves.iter().map(|(name, tensor)| (name, tensor)).collect();
        Tensor::write_safetensors(&named, folder.path().join("adapter_model.safetensors")).unwrap();
        let mut model = Model::new(2);
        load_adapter(&mut model, folder.path(), "default", Trainability::Frozen).unwrap();
        let lora = model.layers[1].self_attn.q_proj.layer().as_lora().unwrap();
        let name = "base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight";
        let expected = &halves.iter().find(|(found, _)| found == name).unwrap().1;
        assert_eq!(lora.lora_b("default").unwrap(), &expected.to_kind(Kind::Float));
        assert_eq!(lora.lora_b("default").unwrap().kind(), Kind::Float);
    }
}

#[test]
fn both_forms_of_names_load() {
    let folder = tempfile::tempdir().unwrap();
    let source = trained(&config(), "default");
    save_adapter(&source, "default", folder.path()).unwrap();
    let short: Vec<_> = tensors(folder.path())
        .into_iter()
        .map(|(name, tensor)| (name.strip_prefix("base_model.model.").unwrap().to_owned(), tensor))
        .collect();
    let named: Vec<_> = short.iter().map(|(name, tensor)| (name, tensor)).collect();
    Tensor::write_safetensors(&named, folder.path().join("adapter_model.safetensors")).unwrap();
    let mut target = Model::new(2);
    load_adapter(&mut target, folder.path(), "default", Trainability::Frozen).unwrap();
    assert_eq!(target.forward(&input()), source.forward(&input()));
}

#[test]
fn copies_of_the_base_are_no_part_of_an_adapter() {
    let folder = tempfile::tempdir().unwrap();
    let source = trained(&LoraConfig::new(["q_proj", "lm_head"]).with_rank(2), "default");
    save_adapter(&source, "default", folder.path()).unwrap();
    let head = "base_model.model.lm_head.base_layer.weight";
    rewrite(folder.path(), |tensors| {
        tensors.insert(head.into(), source.lm_head.layer().innermost().named_tensors()[0].1.copy());
        tensors.insert("base_model.model.model.embed_tokens.weight".into(), source.embed_tokens.copy());
    });
    let mut target = Model::new(2);
    load_adapter(&mut target, folder.path(), "default", Trainability::Frozen).unwrap();
    assert_eq!(target.forward(&input()), source.forward(&input()));

    rewrite(folder.path(), |tensors| {
        let changed = tensors[head].copy() + 1.0;
        tensors.insert(head.into(), changed);
    });
    let error = load_adapter(&mut Model::new(2), folder.path(), "default", Trainability::Frozen).unwrap_err();
    assert!(error.to_string().contains(head), "{error}");
}

#[test]
fn lora_only_without_any_bias_leaves_those_of_the_base() {
    let folder = tempfile::tempdir().unwrap();
    let source = trained(&config().with_bias(Bias::LoraOnly), "default");
    save_adapter(&source, "default", folder.path()).unwrap();
    let biases: Vec<String> =
        tensors(folder.path()).into_keys().filter(|name| name.ends_with("base_layer.bias")).collect();
    assert_eq!(biases.len(), 4);
    let mut target = Model::new(2);
    rewrite(folder.path(), |tensors| drop(tensors.remove(&biases[0])));
    let error = load_adapter(&mut target, folder.path(), "default", Trainability::Frozen).unwrap_err();
    assert!(error.to_string().contains("1 missing"), "{error}");
    rewrite(folder.path(), |tensors| tensors.retain(|name, _| !biases.contains(name)));
    load_adapter(&mut target, folder.path(), "default", Trainability::Frozen).unwrap();
    assert_eq!(target.forward(&input()), source.forward(&input()));
}

/// What is done to a good folder, and what the error must say.
type Damage = (&'static str, fn(&Path), &'static [&'static str]);

const A: &str = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";

fn rewrite(folder: &Path, change: impl FnOnce(&mut BTreeMap<String, Tensor>)) {
    let mut tensors = tensors(folder);
    change(&mut tensors);
    let named: Vec<_> = tensors.iter().collect();
    Tensor::write_safetensors(&named, folder.join("adapter_model.safetensors")).unwrap();
}

fn rewrite_config(folder: &Path, from: &str, to: &str) {
    let path = folder.join("adapter_config.json");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(path, text.replace(from, to)).unwrap();
}

const DAMAGES: &[Damage] = &[
    ("missing", |folder| rewrite(folder, |tensors| drop(tensors.remove(A))), &["1 missing", A]),
    (
        "unexpected",
        |folder| {
            rewrite(folder, |tensors| {
                drop(tensors.insert("base_model.model.more.lora_A.weight".into(), Tensor::zeros([1], CPU)));
            });
        },
        &["1 unexpected", "more.lora_A"],
    ),
    (
        "shape",
        |folder| rewrite(folder, |tensors| drop(tensors.insert(A.into(), Tensor::zeros([3, 8], CPU)))),
        &["of a wrong shape", "[3, 8], expected [2, 8]", A],
    ),
    (
        "rank",
        |folder| rewrite_config(folder, "\"r\": 2", "\"r\": 3"),
        &["8 of a wrong shape", "expected [3, 8]"],
    ),
    ("targets", |folder| rewrite_config(folder, "\"q_proj\"", "\"up_proj\""), &["4 missing", "4 unexpected"]),
    (
        "dtype",
        |folder| {
            rewrite(folder, |tensors| {
                drop(tensors.insert(A.into(), Tensor::zeros([2, 8], (Kind::Int, CPU.1))));
            });
        },
        &["I32", A],
    ),
    (
        "no tensors",
        |folder| fs::remove_file(folder.join("adapter_model.safetensors")).unwrap(),
        &["adapter_model.safetensors", "not found"],
    ),
    (
        "pickle",
        |folder| {
            fs::rename(folder.join("adapter_model.safetensors"), folder.join("adapter_model.bin")).unwrap();
        },
        &["pickled", "safe_serialization"],
    ),
    (
        "no config",
        |folder| fs::remove_file(folder.join("adapter_config.json")).unwrap(),
        &["adapter_config.json", "not found"],
    ),
    (
        "no json",
        |folder| fs::write(folder.join("adapter_config.json"), "{").unwrap(),
        &["adapter_config.json", "not valid JSON"],
    ),
    ("other tuner", |folder| rewrite_config(folder, "\"LORA\"", "\"IA3\""), &["IA3"]),
    ("dora", |folder| rewrite_config(folder, "\"use_dora\": false", "\"use_dora\": true"), &["use_dora"]),
    (
        "truncated",
        |folder| {
            let path = folder.join("adapter_model.safetensors");
            let bytes = fs::read(&path).unwrap();
            fs::write(path, &bytes[..bytes.len() - 5]).unwrap();
        },
        &["not a whole safetensors file"],
    ),
    (
        "huge header",
        |folder| fs::write(folder.join("adapter_model.safetensors"), [0xff; 64]).unwrap(),
        &["not a whole safetensors file"],
    ),
    (
        "empty",
        |folder| fs::write(folder.join("adapter_model.safetensors"), []).unwrap(),
        &["not a whole safetensors file"],
    ),
];

#[test]
fn files_that_do_not_fit_are_named_and_the_model_is_unchanged() {
    let source = trained(&config(), "default");
    for (what, damage, expected) in DAMAGES {
        let folder = tempfile::tempdir().unwrap();
        save_adapter(&source, "default", folder.path()).unwrap();
        damage(folder.path());
        for injected in [false, true] {
            let mut model = Model::new(2);
            if injected {
                inject_adapter(&mut model, &LoraConfig::new(["up_proj"]).with_rank(1), "first").unwrap();
            }
            let _ = model.collect_leaves_mut();
            let before = fingerprint(&model);
            let error =
                load_adapter(&mut model, folder.path(), "default", Trainability::Trainable).unwrap_err();
            let text = error.to_string();
            assert!(expected.iter().all(|part| text.contains(part)), "{what}: {text}");
            assert_eq!(fingerprint(&model), before, "{what}");
        }
    }
}

#[test]
fn saving_what_is_not_there_or_where_nothing_can_be_written_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let model = trained(&config(), "default");
    let error = save_adapter(&model, "other", folder.path()).unwrap_err();
    assert!(
        matches!(&error, AdapterFileError::UnknownAdapter { known, .. } if known == &["default"]),
        "{error}"
    );
    let file = folder.path().join("a_file");
    fs::write(&file, "").unwrap();
    let error = save_adapter(&model, "default", &file).unwrap_err();
    assert!(matches!(error, AdapterFileError::Io { .. }), "{error}");
    assert!(error.to_string().contains("a_file"), "{error}");
}

#[test]
fn unknown_fields_of_a_newer_peft_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    save_adapter(&trained(&config(), "default"), "default", folder.path()).unwrap();
    rewrite_config(folder.path(), "\"r\": 2", "\"r\": 2,\n  \"zz_new_field\": {\"deep\": [1, 2.5]}");
    let mut model = Model::new(2);
    load_adapter(&mut model, folder.path(), "default", Trainability::Frozen).unwrap();
    let again = tempfile::tempdir().unwrap();
    save_adapter(&model, "default", again.path()).unwrap();
    let text = fs::read_to_string(again.path().join("adapter_config.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["zz_new_field"], serde_json::json!({"deep": [1, 2.5]}));
}
