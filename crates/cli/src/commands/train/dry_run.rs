//! The plan of a run that is not made.

use super::memory::Memory;
use super::prepare::Data;
use crate::causal::Causal;
use crate::failure::Failure;
use crate::output::{self, Reader, size, table};
use crate::settings::Settings;
use qtuner_core::InjectReport;
use qtuner_train::Plan;
use serde::Serialize;

/// The plan, for programs.
#[derive(Debug, Serialize)]
struct DryRun<'a> {
    layers: Vec<Layer<'a>>,
    trainable_parameters: i64,
    parameters: i64,
    plan: &'a Plan,
    memory: &'a Memory,
    warnings: &'a [String],
}

#[derive(Debug, Serialize)]
struct Layer<'a> {
    name: &'a str,
    kind: &'a str,
    backend: &'a str,
    in_features: i64,
    out_features: i64,
    r: i64,
    scaling: f64,
}

/// Prints layers, trainable parameters, steps and memory.
pub(super) fn show(
    settings: &Settings,
    data: &Data,
    model: &Causal,
    injection: &InjectReport,
    reader: Reader,
) -> Result<(), Failure> {
    let plan = data.plan(settings);
    let memory = Memory::estimate(settings, model, injection.trainable);
    if reader == Reader::Program {
        let layers = injection.layers.iter().map(|layer| Layer {
            name: &layer.path,
            kind: layer.base,
            backend: layer.backend,
            in_features: layer.in_features,
            out_features: layer.out_features,
            r: layer.rank,
            scaling: layer.scaling,
        });
        return output::json(&DryRun {
            layers: layers.collect(),
            trainable_parameters: injection.trainable,
            parameters: injection.total,
            plan: &plan,
            memory: &memory,
            warnings: &injection.warnings,
        });
    }
    let rows = [
        ("weights", memory.weights),
        ("adapter, gradients, AdamW", memory.adapter),
        ("activations of a forward pass", memory.activations),
        ("logits", memory.logits),
        ("libtorch and the program", memory.program),
        ("together, about", memory.total()),
    ];
    let rows = rows.map(|(name, bytes)| vec![format!("  {name}"), size(bytes)]);
    output::line(format_args!("{injection}\n\n{plan}\n\nmemory\n{}", table(&rows, 1)))?;
    output::line("nothing was written; leave out --dry-run to train")
}
