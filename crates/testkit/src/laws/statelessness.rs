//! Law 7: training, then evaluation, then training gives the gradients of training alone, bit for bit.
//!
//! Evaluation is everything a program does between two steps: forwards under `no_grad` and in inference mode of other sizes,
//! `Mode::Eval`, adapters disabled and enabled, inputs that need no gradient.

use crate::adapted::{build, output, train, wrap};
use crate::bytes::same_values;
use crate::input::Input;
use crate::run::{Broken, Verdict, ensure, for_all};
use crate::{BackendFixture, Case};
use qtuner_core::autograd::inference_mode;
use qtuner_core::{AdapterState, Layer, LoraLayer, Mode, Support};
use tch::Tensor;

pub(super) fn law(fixture: &dyn BackendFixture) -> Verdict {
    let cases = fixture.shapes().cases(&fixture.input_kinds());
    for_all(64, (cases, 1i64..30), |(case, rows)| evaluation_leaves_no_trace(fixture, &case.ordinary(), rows))
}

fn evaluation_leaves_no_trace(fixture: &dyn BackendFixture, case: &Case, rows: i64) -> Verdict {
    let layer = build(fixture, case)?;
    let reaches_input = layer.as_quantized().map(|quantized| quantized.capabilities().grad_input);
    let reaches_input = reaches_input.unwrap_or(Support::Yes);
    let mut evaluated = trained(fixture, case)?;
    let undisturbed = trained(fixture, case)?;

    let first = step(&*evaluated, case, rows, reaches_input)?;
    evaluate(&mut *evaluated, case)?;
    let second = step(&*evaluated, case, rows, reaches_input)?;
    let alone = step(&*undisturbed, case, rows, reaches_input)?;
    for (((name, first), (_, second)), (_, alone)) in first.iter().zip(&second).zip(&alone) {
        ensure!(same_values(first, second), "{name} differs before and after evaluation");
        ensure!(same_values(second, alone), "{name} differs from that of training alone");
    }
    if reaches_input == Support::Yes {
        evaluate_layer(&*layer, case)?;
        let x = Input::rows(rows).draw(case.in_features, case.input_kind).set_requires_grad(true);
        let y = layer.forward(&x)?;
        ensure!(
            y.requires_grad(),
            "after evaluation the output is detached from an input that requires a gradient"
        );
    }
    Ok(())
}

fn trained(fixture: &dyn BackendFixture, case: &Case) -> Verdict<Box<dyn LoraLayer>> {
    let layer = build(fixture, case)?;
    tch::manual_seed(case.seed);
    let mut lora = wrap(fixture, &*layer, "default")?;
    train(&*lora, "default", case.seed)?;
    lora.set_adapter(&["default"])?;
    Ok(lora)
}

/// One training step's output and gradients.
fn step(
    lora: &dyn LoraLayer,
    case: &Case,
    rows: i64,
    reaches_input: Support,
) -> Verdict<Vec<(&'static str, Tensor)>> {
    let x = Input::rows(rows).draw(case.in_features, case.input_kind);
    let x = x.set_requires_grad(reaches_input == Support::Yes);
    let weights = Input { seed: 11, ..Input::rows(rows) }.draw(case.out_features, case.input_kind);
    let y = lora.forward(&x)?;
    let (Some(a), Some(b)) = (lora.lora_a("default"), lora.lora_b("default")) else {
        return Err(Broken::new("the wrapped layer has no adapter \"default\""));
    };
    let all = [("the gradient of A", a), ("the gradient of B", b), ("the gradient to the input", &x)];
    let wanted = &all[..if reaches_input == Support::Yes { 3 } else { 2 }];
    let tensors: Vec<&Tensor> = wanted.iter().map(|(_, tensor)| *tensor).collect();
    let loss = (&y * weights).sum(y.kind());
    let gradients = Tensor::f_run_backward(&[loss], &tensors, false, false);
    let gradients = gradients.map_err(|error| Broken::from(error).during("backward"))?;
    let names = wanted.iter().map(|(name, _)| *name);
    Ok([("the output", y.detach())].into_iter().chain(names.zip(gradients)).collect())
}

fn evaluate(lora: &mut dyn LoraLayer, case: &Case) -> Verdict {
    lora.set_mode(Mode::Eval);
    evaluate_layer(&*lora, case)?;
    lora.set_adapter_state(AdapterState::Disabled)?;
    evaluate_layer(&*lora, case)?;
    lora.set_adapter_state(AdapterState::Enabled)?;
    lora.set_mode(Mode::Train);
    Ok(())
}

fn evaluate_layer(layer: &dyn Layer, case: &Case) -> Verdict {
    for rows in [1, 17] {
        // First, since what a layer keeps from here on is no good for a graph.
        let x = Input::rows(rows).draw(case.in_features, case.input_kind);
        drop(inference_mode(|| output(layer, &x))??);
        let x = Input::rows(rows).draw(case.in_features, case.input_kind);
        drop(output(layer, &x)?);
        drop(output(layer, &x.set_requires_grad(true))?);
    }
    drop(layer.forward(&Input::rows(2).draw(case.in_features, case.input_kind))?);
    Ok(())
}
