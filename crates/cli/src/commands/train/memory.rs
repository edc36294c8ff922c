//! How much memory a run will need, about: the largest moment of a step, from shapes.
//!
//! ```text
//! program + weights + adapter + activations of all blocks + max(a slice of the logits, a block's gradients) + holes
//! ```

use super::activations::Activations;
use super::prepare::Data;
use crate::causal::Causal;
use crate::settings::Settings;
use qtuner_core::{InjectReport, ModuleTree};
use qtuner_train::data::Sample;
use qtuner_train::metrics::peak_memory;
use qtuner_train::{LanguageModel, loss};
use serde::Serialize;

/// Bytes, by what they are for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Memory {
    /// The base model's tensors, mapped from the file.
    pub(super) weights: u64,
    /// The adapter's numbers, each with a gradient and two moments, all f32.
    pub(super) adapter: u64,
    /// What the backward pass needs of the forward pass.
    pub(super) activations: Activations,
    /// What comes and goes on top of all activations: a slice of the logits or a block's gradients, whichever is more.
    pub(super) scratch: u64,
    /// What the allocator keeps of freed tensors; see [`holes`].
    pub(super) holes: u64,
    /// libtorch's own data, this program's and the samples.
    pub(super) program: u64,
    /// The most that this process has needed to read the data and open the model, where the system tells.
    pub(super) so_far: Option<u64>,
}

/// What a process needs that has loaded libtorch and a tokenizer and computed something; measured.
const PROGRAM: u64 = 170_000_000;
/// A sample has a token, its document and whether it counts, for each position.
const SAMPLE: u64 = 9;

impl Memory {
    /// For a step of the model under these settings, on rows as long as the longest of the data.
    pub(super) fn estimate(
        settings: &Settings,
        model: &Causal,
        injection: &InjectReport,
        data: &Data,
    ) -> Self {
        let config = model.inner().config();
        let dtype = settings.run.dtype.bytes();
        let longest = data.train.samples().iter().map(Sample::len).max().unwrap_or(0);
        let batch = (settings.train.batch_size * longest) as u64;
        let tokens = data.train.tokens() + data.eval.tokens();
        let unsigned = |number: i64| u64::try_from(number).unwrap_or(0);
        let activations = Activations::estimate(settings, config, &injection.layers, longest);
        let rows = unsigned(loss::slice_rows(model.vocab_size(), settings.run.dtype.kind())).min(batch);
        // The logits and their gradient.
        let logits = rows * unsigned(model.vocab_size()) * 2 * dtype;
        // The gradients of an MLP: of its product, its two factors, the activation and the sums into its inputs.
        let gradients = 6 * dtype * batch * unsigned(config.intermediate_size);
        let scratch = logits.max(gradients);
        Self {
            weights: weights(model),
            adapter: 16 * unsigned(injection.trainable),
            holes: holes(activations.total(), scratch),
            activations,
            scratch,
            program: PROGRAM + SAMPLE * tokens as u64,
            so_far: peak_memory(),
        }
    }

    /// The largest moment.
    pub(super) fn total(&self) -> u64 {
        let Self { weights, adapter, activations, scratch, holes, program, so_far } = self;
        let step = weights + adapter + activations.total() + scratch + holes + program;
        step.max(so_far.unwrap_or(0))
    }
}

/// What the allocator keeps of tensors that were freed before the largest moment: as much as came and went, and a twentieth of
/// what is kept between. Measured on Linux, where the estimate is within 13 % of what runs need, on models of hidden sizes 256
/// and 896, with 512 to 8192 tokens in f32 and bf16.
fn holes(kept: u64, scratch: u64) -> u64 {
    scratch + kept / 20
}

fn weights(model: &Causal) -> u64 {
    let leaves = model.collect_leaves();
    let bytes = |tensor: &tch::Tensor| (tensor.numel() * tensor.kind().elt_size_in_bytes()) as u64;
    let slots = leaves.slots.iter().flat_map(|(_, slot)| slot.layer().innermost().named_tensors());
    let slots: u64 = slots.map(|(_, tensor)| bytes(&tensor)).sum();
    slots + leaves.parameters.iter().map(|(_, tensor)| bytes(tensor)).sum::<u64>()
}
