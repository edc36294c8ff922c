//! A small model of dense layers, and what it looks like to the last bit.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "every test program takes what it needs")]

use qtuner_core::{Layer, Linear, ModuleTree, Slot};
use tch::{Device, Kind, Tensor};

pub(crate) const CPU: (Kind, Device) = (Kind::Float, Device::Cpu);

#[derive(ModuleTree)]
pub(crate) struct Attention {
    pub(crate) q_proj: Slot,
    pub(crate) v_proj: Slot,
}

#[derive(ModuleTree)]
pub(crate) struct Block {
    pub(crate) self_attn: Attention,
    pub(crate) up_proj: Slot,
}

#[derive(ModuleTree)]
pub(crate) struct Model {
    #[module(rename = "model.embed_tokens.weight")]
    pub(crate) embed_tokens: Tensor,
    #[module(rename = "model.layers")]
    pub(crate) layers: Vec<Block>,
    pub(crate) lm_head: Slot,
}

/// A layer whose weights depend on its sizes and `seed` alone: libtorch's random generator is shared by all threads.
pub(crate) fn slot_of(out_features: i64, in_features: i64, seed: i64) -> Slot {
    let values = |count: i64| (Tensor::arange(count, CPU) * 12.9898 + seed).sin() * 0.5;
    let weight = values(out_features * in_features).view([out_features, in_features]);
    Linear::new(weight, Some(values(out_features))).unwrap().into()
}

pub(crate) fn slot(out_features: i64, in_features: i64) -> Slot {
    slot_of(out_features, in_features, 0)
}

pub(crate) const WIDTH: i64 = 8;

impl Model {
    pub(crate) fn new(layers: usize) -> Self {
        let layers = i64::try_from(layers).unwrap();
        let block = |index: i64| Block {
            self_attn: Attention {
                q_proj: slot_of(WIDTH, WIDTH, 3 * index),
                v_proj: slot_of(WIDTH, WIDTH, 3 * index + 1),
            },
            up_proj: slot_of(WIDTH, WIDTH, 3 * index + 2),
        };
        Self {
            embed_tokens: Tensor::ones([10, WIDTH], CPU).set_requires_grad(true),
            layers: (0..layers).map(block).collect(),
            lm_head: slot(10, WIDTH),
        }
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        let mut x = x.shallow_clone();
        for block in &self.layers {
            let q = block.self_attn.q_proj.forward(&x).unwrap();
            let v = block.self_attn.v_proj.forward(&x).unwrap();
            x = block.up_proj.forward(&(q.tanh() * v)).unwrap().tanh();
        }
        self.lm_head.forward(&x).unwrap()
    }
}

/// An input for the model.
pub(crate) fn input() -> Tensor {
    Tensor::linspace(-1, 1, 3 * WIDTH, CPU).view([3, WIDTH])
}

/// Everything that a failed operation must leave alone: layers, their tensors' bytes, addresses and flags.
pub(crate) fn fingerprint(model: &impl ModuleTree) -> String {
    let leaves = model.collect_leaves();
    let mut text = Vec::new();
    let tensor = |text: &mut Vec<String>, name: &str, tensor: &Tensor| {
        let bytes: Vec<u8> =
            Vec::try_from(tensor.detach().contiguous().view_dtype(Kind::Uint8).view(-1)).unwrap();
        let grad = tensor.requires_grad();
        text.push(format!("{name} {:?} {:?} grad={grad} {bytes:?}", tensor.kind(), tensor.data_ptr()));
    };
    for (path, slot) in &leaves.slots {
        let mut layer: &dyn Layer = slot.layer();
        text.push(format!("{path} {layer:?}"));
        for (name, value) in layer.named_tensors() {
            tensor(&mut text, &format!("{path}.{name}"), &value);
        }
        while let Some(tuner) = layer.as_tuner() {
            for (name, value) in tuner.adapter_parameters() {
                tensor(
                    &mut text,
                    &format!("{path}.{name} {:?} {:?}", tuner.active_adapters(), tuner.mode()),
                    &value,
                );
            }
            layer = tuner.base_layer();
        }
    }
    for (path, value) in &leaves.parameters {
        tensor(&mut text, path.as_str(), value);
    }
    text.join("\n")
}

/// Gives `B` of every layer values, so that the adapter is not a no-op.
pub(crate) fn perturb(model: &mut impl ModuleTree, adapter: &str, value: f64) {
    let _guard = tch::no_grad_guard();
    let leaves = model.collect_leaves();
    for (_, slot) in &leaves.slots {
        if let Some(lora) = slot.layer().as_lora().and_then(|lora| lora.lora().adapter(adapter)) {
            let _ = lora.lora_b().shallow_clone().uniform_(-value, value);
        }
    }
}
