//! Law 5: merge, then forward, equals forward where merging is supported, and unmerging restores every byte; elsewhere
//! merging is a typed error, and nothing has changed.

use crate::adapted::{build, output, train, wrap};
use crate::bytes::same_values;
use crate::dense::{Adapter, Dense, merge_storage};
use crate::input::{Input, inputs};
use crate::run::{Verdict, ensure, for_all};
use crate::{BackendFixture, Case, CheckpointTensors};
use qtuner_core::{Layer, LoraLayer, LoraOptions, MergeCheck, Support, TunerError};
use tch::Tensor;

const BOTH: [&str; 2] = ["first", "second"];

pub(super) fn law(fixture: &dyn BackendFixture) -> Verdict {
    let cases = fixture.shapes().cases(&fixture.input_kinds());
    for_all(96, (cases, inputs()), |(case, input)| {
        let case = case.ordinary();
        let layer = build(fixture, &case)?;
        let says = layer.as_quantized().map(|quantized| quantized.capabilities().merge);
        let does = if layer.as_merge().is_some() { Support::Yes } else { Support::No };
        let says = says.unwrap_or(does);
        ensure!(
            says == does,
            "{layer:?} says of merging {says:?} in its capabilities, and {does:?} by `as_merge`"
        );
        let mut lora = wrap(fixture, &*layer, "first")?;
        lora.update_layer("second", LoraOptions::default().with_rank(2).with_alpha(1.0))?;
        train(&*lora, "first", case.seed)?;
        train(&*lora, "second", case.seed + 1)?;
        lora.set_adapter(&BOTH)?;
        let x = input.draw(case.in_features, case.input_kind);
        match says {
            Support::Yes => merges(&*layer, &mut *lora, &x),
            Support::No => refuses(&*layer, &mut *lora, &x),
        }?;
        unchanged(fixture, &case, &*layer)
    })
}

fn merges(layer: &dyn Layer, lora: &mut dyn LoraLayer, x: &Tensor) -> Verdict {
    let before = output(lora, x)?;
    let base = Dense::of(layer)?;
    let storage = merge_storage(layer, x.kind());
    let adapters = BOTH.map(|name| Adapter::of(lora, name));
    let [first, second] = adapters;
    let (first, second) = (first?, second?);

    lora.merge(&["second"], MergeCheck::Finite)?;
    ensure!(lora.merged_adapters() == ["second"], "merged: {:?}", lora.merged_adapters());
    let expected = Dense::adapted(base.merged(&[&second], storage).forward(x), &[&first], x);
    expected.holds("the output with one of two adapters merged", &output(lora, x)?)?;
    lora.merge(&BOTH, MergeCheck::Finite)?;
    let expected = base.merged(&[&second, &first], storage).forward(x);
    expected.holds("the output with both adapters merged", &output(lora, x)?)?;
    expected.holds("the output of the merged layer alone", &output(&*lora.unwrapped(), x)?)?;
    lora.unmerge();
    ensure!(
        same_values(&output(lora, x)?, &before),
        "the output after unmerging is not the one before merging"
    );
    ensure!(lora.merged_adapters().is_empty(), "still merged: {:?}", lora.merged_adapters());

    spoil(lora);
    match lora.merge(&BOTH, MergeCheck::Finite) {
        Err(TunerError::NotFinite { .. }) => {}
        other => ensure!(false, "merging an infinite adapter gave {other:?}, expected NotFinite"),
    }
    ensure!(lora.merged_adapters().is_empty(), "a refused merge merged {:?}", lora.merged_adapters());
    Ok(())
}

fn refuses(layer: &dyn Layer, lora: &mut dyn LoraLayer, x: &Tensor) -> Verdict {
    let before = output(lora, x)?;
    for check in [MergeCheck::Finite, MergeCheck::Unchecked] {
        for outcome in [lora.check_merge(&BOTH, check), lora.merge(&BOTH, check)] {
            match outcome {
                Err(TunerError::MergeUnsupported { base, .. }) => {
                    ensure!(base == format!("{layer:?}"), "the error names {base:?}, expected {layer:?}");
                }
                other => ensure!(false, "merging gave {other:?}, expected MergeUnsupported"),
            }
        }
    }
    ensure!(lora.merged_adapters().is_empty(), "a refused merge merged {:?}", lora.merged_adapters());
    ensure!(same_values(&output(lora, x)?, &before), "a refused merge changed the output");
    Ok(())
}

/// Puts an infinity into `B`.
fn spoil(lora: &dyn LoraLayer) {
    let _guard = tch::no_grad_guard();
    if let Some(b) = lora.lora_b("second") {
        let _ = b.shallow_clone().get(0).fill_(f64::INFINITY);
    }
}

/// The base's tensors are those that the fixture builds.
fn unchanged(fixture: &dyn BackendFixture, case: &Case, layer: &dyn Layer) -> Verdict {
    let difference = CheckpointTensors::of(&*build(fixture, case)?).difference(layer);
    ensure!(difference.is_none(), "the base changed: {}", difference.unwrap_or_default());
    let shown = Input::rows(2).draw(case.in_features, case.input_kind);
    let again = build(fixture, case)?;
    ensure!(same_values(&output(layer, &shown)?, &output(&*again, &shown)?), "the base gives another output");
    Ok(())
}
