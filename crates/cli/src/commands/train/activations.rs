//! What autograd keeps of a forward pass, from the config's sizes: the tensors that the operators of a block save.
//!
//! With `h` the hidden size, `q` and `k` the widths of all query and all key heads, `m` the intermediate size, `r` the rank and
//! `d` the bytes of the compute dtype, a token of a Llama block with adapters on all seven linears keeps
//!
//! ```text
//! norms            d (h + h)              what is normalised
//! adapter inputs   d (h + q + h + m)      each distinct input once, in its own dtype, and 4 * 7 r
//! attention        d (q + k + k)          rotated queries and keys, values; the output is o_proj's input
//! mlp              d (m + m)              gate and up; their product is down_proj's input
//! ```
//!
//! In f16, norms keep f32, and the MLP keeps its activation, too, as it does where that is not `SiLU`.

use crate::dtype::Dtype;
use crate::settings::Settings;
use qtuner_core::AdaptedLayer;
use qtuner_models::DecoderConfig;
use qtuner_models::config::{Activation, BlockNorms, QueryKeyNorm};
use serde::Serialize;
use std::collections::BTreeMap;

/// Bytes that all blocks together keep of one batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Activations {
    norms: u64,
    adapter_inputs: u64,
    attention: u64,
    mlp: u64,
}

impl Activations {
    /// For a batch of rows of `time` tokens.
    pub(super) fn estimate(
        settings: &Settings,
        config: &DecoderConfig,
        layers: &[AdaptedLayer],
        time: usize,
    ) -> Self {
        let unsigned = |number: i64| u64::try_from(number).unwrap_or(0);
        let (batch, dtype) = ((settings.train.batch_size * time) as u64, settings.run.dtype.bytes());
        let blocks = config.layers.len() as u64;
        let (hidden, inner) = (unsigned(config.hidden_size), unsigned(config.intermediate_size));
        let heads = |count: i64| unsigned(count * config.head_dim);
        let (queries, keys) = (heads(config.num_attention_heads), heads(config.num_key_value_heads));
        let of_block = match config.block_norms {
            BlockNorms::Two => 2,
            BlockNorms::Four => 4,
        };
        let of_heads = match config.query_key_norm {
            QueryKeyNorm::None => 0,
            QueryKeyNorm::PerHead => queries + keys,
        };
        // Capped scores are no fused operator of libtorch's: scores before and after the cap, and weights, of all heads against
        // all keys. With AVX-512 BF16, the models crate keeps none of them, and this is too much.
        let capped = config.attention_softcap.map_or(0, |_| 3 * unsigned(config.num_attention_heads));
        let scores = capped * time as u64;
        // Dropout makes an input of its own for each layer, in f32, and a mask.
        let inputs = if settings.lora.lora_dropout > 0.0 {
            5 * unsigned(layers.iter().map(|layer| layer.in_features).sum())
        } else {
            dtype * unsigned(distinct_inputs(layers))
        };
        let fused = settings.run.dtype != Dtype::Float16;
        let of_norms = if fused { dtype } else { 4 };
        let of_mlp = if fused && config.activation == Activation::Silu { 2 } else { 3 };
        let ranks: i64 = layers.iter().map(|layer| layer.rank).sum();
        Self {
            norms: batch * blocks * of_norms * (of_block * hidden + of_heads),
            adapter_inputs: batch * (inputs + 4 * unsigned(ranks)),
            attention: batch * blocks * dtype * (queries + 2 * keys + scores),
            mlp: batch * blocks * dtype * of_mlp * inner,
        }
    }

    /// All of it.
    pub(super) fn total(&self) -> u64 {
        self.norms + self.adapter_inputs + self.attention + self.mlp
    }
}

/// The widths of the adapted layers' inputs together, each distinct one once.
fn distinct_inputs(layers: &[AdaptedLayer]) -> i64 {
    let mut distinct = BTreeMap::new();
    for layer in layers {
        let (module, name) = layer.path.rsplit_once('.').unwrap_or(("", &layer.path));
        let shared = match name {
            "q_proj" | "k_proj" | "v_proj" => "attention",
            "gate_proj" | "up_proj" => "mlp",
            own => own,
        };
        distinct.insert((module, shared), layer.in_features);
    }
    distinct.into_values().sum()
}
