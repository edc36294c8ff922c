//! How much memory a run will need, about.

use crate::causal::Causal;
use crate::settings::Settings;
use qtuner_core::ModuleTree;
use qtuner_train::{LanguageModel, loss};
use serde::Serialize;

/// Bytes, by what they are for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Memory {
    /// The base model's tensors.
    pub(super) weights: u64,
    /// The adapter's numbers, each with a gradient and two moments, all f32.
    pub(super) adapter: u64,
    /// What the backward pass needs of the forward pass.
    pub(super) activations: u64,
    /// One slice of the logits, its softmax and its gradient, in f32.
    pub(super) logits: u64,
    /// libtorch's own data and this program's.
    pub(super) program: u64,
}

/// What a process that has loaded libtorch and computed something takes.
const PROGRAM: u64 = 270_000_000;

impl Memory {
    /// For one forward and backward pass of the model under these settings.
    ///
    /// The widths that a block's forward and backward pass hold for each token were fitted to peaks measured on a small Llama
    /// (batches of 256 to 2048 tokens, windows of 256 and 1024), which they meet within a tenth.
    pub(super) fn estimate(settings: &Settings, model: &Causal, trainable: i64) -> Self {
        let config = model.inner().config();
        let train = &settings.train;
        let unsigned = |number: i64| u64::try_from(number).unwrap_or(0);
        let heads = config.num_attention_heads + 2 * config.num_key_value_heads;
        let a_token = 12 * config.hidden_size + 5 * heads * config.head_dim + 8 * config.intermediate_size;
        let tokens = (train.batch_size * train.sequence_length) as u64;
        let blocks = config.layers.len() as u64;
        let rows = unsigned(loss::slice_rows(model.vocab_size())).min(tokens);
        Self {
            weights: weights(model),
            adapter: 16 * unsigned(trainable),
            activations: tokens * blocks * unsigned(a_token) * settings.run.dtype.bytes(),
            logits: 3 * 4 * rows * unsigned(model.vocab_size()),
            program: PROGRAM,
        }
    }

    /// All of it.
    pub(super) fn total(&self) -> u64 {
        self.weights + self.adapter + self.activations + self.logits + self.program
    }
}

fn weights(model: &Causal) -> u64 {
    let leaves = model.collect_leaves();
    let bytes = |tensor: &tch::Tensor| (tensor.numel() * tensor.kind().elt_size_in_bytes()) as u64;
    let slots = leaves.slots.iter().flat_map(|(_, slot)| slot.layer().innermost().named_tensors());
    let slots: u64 = slots.map(|(_, tensor)| bytes(&tensor)).sum();
    slots + leaves.parameters.iter().map(|(_, tensor)| bytes(tensor)).sum::<u64>()
}
