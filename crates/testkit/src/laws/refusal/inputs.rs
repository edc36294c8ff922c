//! Inputs that a layer cannot take.

use super::{peeled, without_panic};
use crate::adapted::{TwoLayers, build, output, wrap};
use crate::bytes::same_values;
use crate::input::Input;
use crate::run::{Broken, Verdict, ensure};
use crate::{BackendFixture, Case};
use qtuner_core::{Layer, LayerError, ModuleTree};
use tch::{Device, Kind, Tensor};

/// One bad input, and what the error must say it found and expected.
struct Bad {
    input: Tensor,
    found: String,
    expected: String,
}

pub(super) fn are_refused(fixture: &dyn BackendFixture, case: &Case) -> Verdict {
    let layer = build(fixture, case)?;
    let good = Input::rows(3).draw(case.in_features, case.input_kind);
    let before = output(&*layer, &good)?;
    let lora = wrap(fixture, &*layer, "default")?;
    let mut model = TwoLayers::new(fixture, case)?;
    drop(model.collect_leaves_mut());
    for bad in bad_inputs(&*layer, case) {
        refused(&bad, layer.kind_name(), without_panic("forward", || layer.forward(&bad.input))?)?;
        refused(&bad, layer.kind_name(), without_panic("forward", || lora.forward(&bad.input))?)?;
        let in_model = without_panic("forward", || model.left.forward(&bad.input))?;
        let text = in_model.as_ref().err().map(ToString::to_string).unwrap_or_default();
        ensure!(text.contains("`left`"), "the error of a slot does not name it: {text}");
    }
    ensure!(same_values(&output(&*layer, &good)?, &before), "the output changed after inputs were refused");
    Ok(())
}

fn bad_inputs(layer: &dyn Layer, case: &Case) -> Vec<Bad> {
    let features = case.in_features;
    let zeros = |size: &[i64], kind| Tensor::zeros(size, (kind, Device::Cpu));
    let sizes = [
        vec![3, features + 1],
        vec![features - 1],
        vec![0, features + 8],
        vec![2, 2, 0],
        vec![features, features + 2],
    ];
    let shapes = sizes.into_iter().chain([vec![]]).map(|size| Bad {
        found: format!("{size:?}"),
        expected: features.to_string(),
        input: zeros(&size, case.input_kind),
    });
    let taken = layer.as_quantized().map(|quantized| quantized.capabilities().input_kinds);
    let taken = taken.unwrap_or_else(|| vec![case.input_kind]);
    let kinds = [Kind::Int64, Kind::Bool, Kind::Uint8, Kind::Double, Kind::Float, Kind::Half, Kind::BFloat16];
    let dtypes = kinds.into_iter().filter(|kind| !taken.contains(kind)).map(|kind| Bad {
        found: format!("{kind:?}"),
        expected: format!("{:?}", case.input_kind),
        input: zeros(&[2, features], kind),
    });
    shapes.chain(dtypes).collect()
}

fn refused(bad: &Bad, layer_kind: &str, outcome: Result<Tensor, LayerError>) -> Verdict {
    let input = format!("an input {:?} {:?}", bad.input.kind(), bad.input.size());
    let error = match outcome {
        Ok(y) => {
            return Err(Broken::new(format!("{input} gave an output {:?}, expected an error", y.size())));
        }
        Err(error) => peeled(error),
    };
    let LayerError::Input { layer, found, expected } = &error else {
        return Err(Broken::new(format!("{input} gave {error:?}, expected LayerError::Input")));
    };
    ensure!(layer.contains(layer_kind), "the error for {input} does not name {layer_kind}: {error}");
    ensure!(
        found.contains(&bad.found),
        "the error for {input} does not say that it found {}: {error}",
        bad.found
    );
    ensure!(
        expected.contains(&bad.expected),
        "the error for {input} does not say that it expected {}: {error}",
        bad.expected
    );
    Ok(())
}
