//! An adapter made by PEFT over an AWQ checkpoint made by AutoAWQ: it loads, computes, and saves back as it was.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use qtuner_awq::WqLinearGemm;
use qtuner_core::{Injection, Layer, LoraConfig, ModuleTree, Registry, Slot, Trainability, dense};
use qtuner_core::{inject_adapter, load_adapter, load_adapter_with, model, save_adapter};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// The checkpoint's packed layers under their names; what lies between them is not computed here.
#[derive(ModuleTree)]
struct Model {
    #[module(rename = "model")]
    inner: Inner,
}

#[derive(ModuleTree)]
struct Inner {
    layers: Vec<Block>,
}

#[derive(ModuleTree)]
struct Block {
    self_attn: BTreeMap<String, Slot>,
    mlp: BTreeMap<String, Slot>,
}

fn checkpoint() -> BTreeMap<String, Tensor> {
    Tensor::read_safetensors(fixture("llama-awq/model.safetensors")).unwrap().into_iter().collect()
}

fn open() -> Model {
    let tensors = checkpoint();
    let take = |name: String| tensors[&name].shallow_clone();
    let slot = |path: String| -> Slot {
        let part = |part: &str| take(format!("{path}.{part}"));
        WqLinearGemm::from_tensors(part("qweight"), part("qzeros"), part("scales"), None).unwrap().into()
    };
    let slots = |layer: usize, module: &str, names: &[&str]| {
        let path = |name: &str| format!("model.layers.{layer}.{module}.{name}");
        names.iter().map(|name| ((*name).to_owned(), slot(path(name)))).collect()
    };
    let block = |layer| Block {
        self_attn: slots(layer, "self_attn", &["q_proj", "k_proj", "v_proj", "o_proj"]),
        mlp: slots(layer, "mlp", &["gate_proj", "up_proj", "down_proj"]),
    };
    Model { inner: Inner { layers: vec![block(0), block(1)] } }
}

fn input(layer: &dyn Layer) -> Tensor {
    let options = (Kind::Float, Device::Cpu);
    (Tensor::arange(3 * layer.in_features(), options) * 0.7).sin().view([3, layer.in_features()])
}

#[test]
fn the_golden_adapter_loads_over_awq_and_adds_its_product() {
    let mut model = open();
    let folder = fixture("llama-awq-adapter");
    let report = load_adapter(&mut model, &folder, "default", Trainability::Frozen).unwrap();
    assert_eq!((report.tensors, report.injection.layers.len()), (28, 14));
    assert!(
        report
            .injection
            .layers
            .iter()
            .all(|layer| layer.backend == "awq" && layer.rank == 4 && (layer.scaling - 2.0).abs() < 1e-12)
    );

    let adapter: BTreeMap<String, Tensor> =
        Tensor::read_safetensors(folder.join("adapter_model.safetensors")).unwrap().into_iter().collect();
    for (path, slot) in &model.collect_leaves().slots {
        let x = input(slot.layer());
        let part = |part: &str| &adapter[&format!("base_model.model.{path}.lora_{part}.weight")];
        let update = x.matmul(&part("A").transpose(0, 1)).matmul(&part("B").transpose(0, 1)) * 2.0;
        let expected = slot.layer().innermost().forward(&x).unwrap() + update;
        assert!(slot.forward(&x).unwrap().allclose(&expected, 1e-5, 1e-6, false), "{path}");
    }
}

#[test]
fn the_golden_adapter_saves_back_byte_for_byte() {
    let mut model = open();
    load_adapter(&mut model, fixture("llama-awq-adapter"), "default", Trainability::Trainable).unwrap();
    let folder = tempfile::tempdir().unwrap();
    save_adapter(&model, "default", folder.path()).unwrap();
    let read = |folder: &Path, file: &str| std::fs::read(folder.join(file)).unwrap();
    let original = fixture("llama-awq-adapter");
    assert_eq!(
        read(folder.path(), "adapter_model.safetensors"),
        read(&original, "adapter_model.safetensors")
    );
    // The config is written as a newer PEFT writes it: every key that was there has its value, sets sorted.
    let json = |folder: &Path| -> serde_json::Value {
        serde_json::from_slice(&read(folder, "adapter_config.json")).unwrap()
    };
    let (ours, theirs) = (json(folder.path()), json(&original));
    for (key, value) in theirs.as_object().unwrap() {
        if key == "target_modules" {
            let sorted = |value: &serde_json::Value| {
                let mut names: Vec<_> =
                    value.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect();
                names.sort();
                names
            };
            assert_eq!(sorted(&ours[key]), sorted(value));
        } else {
            assert_eq!(&ours[key], value, "{key}");
        }
    }
}

#[test]
fn the_checkpoint_is_given_back_byte_for_byte_after_training() {
    let mut model = open();
    let config = LoraConfig::new("all-linear").with_rank(2);
    let report = inject_adapter(&mut model, &config, "default").unwrap();
    assert_eq!(report.layers.len(), 14);
    let leaves = model.collect_leaves();
    for (_, slot) in &leaves.slots {
        slot.forward(&input(slot.layer())).unwrap().square().sum(Kind::Float).backward();
    }
    let original = checkpoint();
    for (path, slot) in &leaves.slots {
        for (name, tensor) in slot.layer().named_tensors() {
            let expected = &original[&format!("{path}.{name}")];
            assert_eq!(tensor.kind(), expected.kind());
            assert_eq!(tensor.view_dtype(Kind::Uint8), expected.view_dtype(Kind::Uint8), "{path}.{name}");
            assert!(!tensor.requires_grad() && !tensor.grad().defined());
        }
    }
    drop(leaves);
    // Packed weights count as the weights that they stand for.
    let weights: i64 = 2 * (128 * 128 * 2 + 128 * 64 * 2 + 128 * 256 * 3);
    let adapters: i64 = 2 * 2 * (256 + 192 + 192 + 256 + 3 * 384);
    assert_eq!(model::count_parameters(&model), (adapters, weights + adapters));
}

#[test]
fn without_the_awq_backend_the_error_says_which_line_is_missing() {
    let registry = Registry::new([dense::DISPATCHER]).unwrap();
    let injection = Injection::new().registry(&registry);
    let mut model = open();
    let error = load_adapter_with(
        &injection,
        &mut model,
        fixture("llama-awq-adapter"),
        "default",
        Trainability::Frozen,
    );
    let text = error.unwrap_err().to_string();
    for part in [
        "14 of the targeted layers",
        "WQLinear_GEMM(in_features=128",
        "linked: linear",
        "use qtuner_awq as _;",
    ] {
        assert!(text.contains(part), "{text}");
    }
}
