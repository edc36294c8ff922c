//! The plan of a run that is not made.

use super::memory::Memory;
use super::prepare::Data;
use crate::failure::Failure;
use crate::output::{self, Reader, size, table};
use crate::settings::Settings;
use crate::warning::Warning;
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
    run_warnings: &'a [Warning],
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
    injection: &InjectReport,
    memory: &Memory,
    reader: Reader,
) -> Result<(), Failure> {
    let plan = data.plan(settings);
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
            memory,
            warnings: &injection.warnings,
            run_warnings: &data.warnings,
        });
    }
    data.warnings.iter().for_each(Warning::say);
    let rows = [
        ("weights", memory.weights),
        ("adapter, gradients, AdamW", memory.adapter),
        ("activations of a forward pass", memory.activations.total()),
        ("logits, or a block's gradients", memory.scratch),
        ("holes in the heap", memory.holes),
        ("libtorch, program and data", memory.program),
        ("together, about", memory.total()),
    ];
    let rows = rows.map(|(name, bytes)| vec![format!("  {name}"), size(bytes)]);
    output::line(format_args!("{injection}\n\n{plan}\n\nmemory\n{}", table(&rows, 1)))?;
    output::line("nothing was written; leave out --dry-run to train")
}
