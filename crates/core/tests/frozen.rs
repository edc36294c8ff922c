//! An adapter that was loaded frozen: nothing makes it train but its own name.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use qtuner_core::{
    Bias, LoraConfig, ModuleTree, Trainability, inject_adapter, load_adapter, model, save_adapter,
};
use std::collections::BTreeSet;
use support::{Model, input, perturb};

/// A folder with an adapter called as it likes.
fn folder(bias: Bias) -> tempfile::TempDir {
    let mut source = Model::new(2);
    inject_adapter(&mut source, &LoraConfig::new(["q_proj"]).with_rank(2).with_bias(bias), "any").unwrap();
    perturb(&mut source, "any", 0.5);
    let folder = tempfile::tempdir().unwrap();
    save_adapter(&source, "any", folder.path()).unwrap();
    folder
}

/// The adapters and biases of `model` that require a gradient: `a`, `b`, `bias`.
fn training(model: &Model) -> BTreeSet<String> {
    let leaves = model.collect_leaves();
    let mut names = BTreeSet::new();
    for (_, slot) in &leaves.slots {
        let layer = slot.layer();
        if layer.innermost().bias().is_some_and(|bias| bias.requires_grad()) {
            names.insert("bias".to_owned());
        }
        for (name, tensor) in layer.as_tuner().iter().flat_map(|tuner| tuner.adapter_parameters()) {
            if tensor.requires_grad() {
                names.insert(name.split('.').nth(1).unwrap().to_owned());
            }
        }
    }
    names
}

fn check(model: &Model, expected: &[&str]) {
    assert_eq!(training(model).iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

#[test]
fn a_further_adapter_does_not_make_a_frozen_one_train() {
    for bias in [Bias::None, Bias::All] {
        let (first, second) = (folder(bias), folder(Bias::None));
        let mut model = Model::new(2);
        load_adapter(&mut model, first.path(), "a", Trainability::Frozen).unwrap();
        check(&model, &[]);
        let report = load_adapter(&mut model, second.path(), "b", Trainability::Frozen).unwrap();
        assert_eq!(report.injection.trainable, 0, "{bias:?}");
        check(&model, &[]);
        let lora = LoraConfig::new(["q_proj", "v_proj"]).with_rank(1);
        inject_adapter(&mut model, &lora, "c").unwrap();
        check(&model, &[]);
        assert_eq!(model::active_adapters(&model), ["a"]);
    }
}

#[test]
fn switching_off_and_on_does_not_make_a_frozen_adapter_train_and_naming_it_does() {
    let (first, second) = (folder(Bias::None), folder(Bias::None));
    let mut model = Model::new(2);
    load_adapter(&mut model, first.path(), "a", Trainability::Frozen).unwrap();
    load_adapter(&mut model, second.path(), "b", Trainability::Trainable).unwrap();
    model::disable_adapters(&mut model).unwrap();
    model::enable_adapters(&mut model).unwrap();
    check(&model, &[]);
    model::set_adapter(&mut model, &["b"]).unwrap();
    check(&model, &["b"]);
    model::set_adapter(&mut model, &["a"]).unwrap();
    check(&model, &["a"]);
    model::disable_adapters(&mut model).unwrap();
    model::enable_adapters(&mut model).unwrap();
    check(&model, &["a"]);
    let trainability = |model: &Model, name: &str| {
        let lora = model.layers[0].self_attn.q_proj.layer().as_lora().unwrap().lora();
        lora.adapter(name).unwrap().trainability()
    };
    assert_eq!(trainability(&model, "a"), Trainability::Trainable);
}

#[test]
fn a_frozen_adapter_that_becomes_active_because_another_is_deleted_stays_frozen() {
    let (first, second) = (folder(Bias::None), folder(Bias::None));
    let mut model = Model::new(2);
    load_adapter(&mut model, first.path(), "b", Trainability::Trainable).unwrap();
    load_adapter(&mut model, second.path(), "a", Trainability::Frozen).unwrap();
    check(&model, &["b"]);
    assert_eq!(model::delete_adapter(&mut model, "b").unwrap().as_deref(), Some("a"));
    check(&model, &[]);
}

#[test]
fn an_adapter_without_biases_loads_beside_one_that_trains_them_and_leaves_them_training() {
    let (first, second) = (folder(Bias::All), folder(Bias::None));
    for trainability in [Trainability::Frozen, Trainability::Trainable] {
        let mut model = Model::new(2);
        load_adapter(&mut model, first.path(), "a", Trainability::Trainable).unwrap();
        check(&model, &["a", "bias"]);
        let before = model.forward(&input());
        load_adapter(&mut model, second.path(), "b", trainability).unwrap();
        check(&model, &["a", "bias"]);
        assert_eq!(model.forward(&input()), before, "{trainability:?}: it waits");
    }
}
