//! Trees of every shape give the names that a checkpoint has, in field order.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use qtuner_core::{Linear, ModuleTree, Slot};
use std::collections::{BTreeMap, HashMap};
use support::{CPU, slot};
use tch::{Device, Tensor, nn};

fn slots(tree: &impl ModuleTree) -> Vec<String> {
    tree.collect_leaves().slots.iter().map(|(path, _)| path.to_string()).collect()
}

fn parameters(tree: &impl ModuleTree) -> Vec<String> {
    tree.collect_leaves().parameters.iter().map(|(path, _)| path.to_string()).collect()
}

#[derive(ModuleTree)]
struct Inner {
    r#type: Slot,
    #[module(rename = "attn.proj")]
    renamed: Slot,
    #[module(skip)]
    _heads: usize,
}

fn inner() -> Inner {
    Inner { r#type: slot(2, 2), renamed: slot(2, 2), _heads: 4 }
}

#[derive(ModuleTree)]
enum Mlp {
    Dense(Box<Inner>),
    Experts { gate: Slot, experts: Vec<Slot> },
    Nothing,
}

#[derive(ModuleTree)]
struct Pair(Slot, Slot);

#[derive(ModuleTree)]
struct Generic<T> {
    layers: [T; 2],
}

#[derive(ModuleTree)]
struct Everything {
    boxed: Box<Inner>,
    some: Option<Slot>,
    none: Option<Slot>,
    mlps: Vec<Mlp>,
    sorted: BTreeMap<String, Slot>,
    hashed: HashMap<u32, Slot>,
    pair: Pair,
    generic: Generic<Inner>,
    norm: Tensor,
    embedding: nn::Embedding,
    layer_norm: nn::LayerNorm,
}

fn everything() -> Everything {
    let vs = nn::VarStore::new(Device::Cpu);
    Everything {
        boxed: Box::new(inner()),
        some: Some(slot(2, 2)),
        none: None,
        mlps: vec![
            Mlp::Dense(Box::new(inner())),
            Mlp::Experts { gate: slot(2, 2), experts: vec![slot(2, 2), slot(2, 2)] },
            Mlp::Nothing,
        ],
        sorted: [("b", slot(2, 2)), ("a", slot(2, 2))].map(|(key, slot)| (key.to_owned(), slot)).into(),
        hashed: (0..12).rev().map(|key| (key, slot(2, 2))).collect(),
        pair: Pair(slot(2, 2), slot(2, 2)),
        generic: Generic { layers: [inner(), inner()] },
        norm: Tensor::ones([2], CPU),
        embedding: nn::embedding(vs.root() / "e", 3, 2, nn::EmbeddingConfig::default()),
        layer_norm: nn::layer_norm(vs.root() / "n", vec![2], nn::LayerNormConfig::default()),
    }
}

#[test]
fn names_follow_fields_containers_and_renames() {
    let hashed: Vec<String> = (0..12).map(|key| format!("hashed.{key}")).collect();
    let mut expected = ["boxed.type", "boxed.attn.proj", "some", "mlps.0.type", "mlps.0.attn.proj"]
        .map(String::from)
        .to_vec();
    expected.extend(
        ["mlps.1.gate", "mlps.1.experts.0", "mlps.1.experts.1", "sorted.a", "sorted.b"].map(String::from),
    );
    expected.extend(hashed);
    expected.extend(
        ["pair.0", "pair.1", "generic.layers.0.type", "generic.layers.0.attn.proj"].map(String::from),
    );
    expected.extend(["generic.layers.1.type", "generic.layers.1.attn.proj"].map(String::from));
    assert_eq!(slots(&everything()), expected);
    assert_eq!(
        parameters(&everything()),
        ["norm", "embedding.weight", "layer_norm.weight", "layer_norm.bias"]
    );
}

#[test]
fn walking_to_change_sees_the_same_leaves_and_names_the_slots() {
    let mut tree = everything();
    let shared = slots(&tree);
    let changed: Vec<_> = tree.collect_leaves_mut().slots.iter().map(|(path, _)| path.to_string()).collect();
    assert_eq!(changed, shared);
    assert_eq!(tree.pair.1.path(), "pair.1");
    let error = tree.pair.1.forward(&Tensor::ones([1, 3], CPU)).unwrap_err().to_string();
    assert!(error.contains("`pair.1`") && error.contains("[1, 3]") && error.contains("[..., 2]"), "{error}");
}

#[test]
fn a_slots_layer_can_be_replaced_and_comes_back() {
    let mut place = slot(2, 2);
    let old = place.replace(Box::new(Linear::new(Tensor::ones([4, 2], CPU), None).unwrap()));
    assert_eq!((old.out_features(), place.layer().out_features()), (2, 4));
}

#[test]
#[should_panic(expected = "expected dtype")]
fn the_module_of_tch_panics_where_the_slot_would_return_an_error() {
    let _ = nn::Module::forward(&slot(2, 2), &Tensor::ones([1, 3], CPU));
}
