//! Law 2: the gradient to the input equals the reference's, and finite differences of the layer's own forward, and so does the
//! output beside it, by any number of threads; the adapter's gradients equal the reference's; none reaches the packed tensors.

use crate::adapted::{build, train, wrap};
use crate::approx::Approx;
use crate::dense::{Adapter, Dense};
use crate::input::{Input, Layout, inputs, layouts, sixteenths};
use crate::run::{Broken, Verdict, ensure, for_all};
use crate::{BackendFixture, Case, CheckpointTensors};
use qtuner_core::{Layer, LoraLayer, Support};
use tch::{Kind, Tensor};

pub(super) fn law(fixture: &dyn BackendFixture) -> Verdict {
    let cases = || fixture.shapes().cases(&fixture.input_kinds());
    for_all(200, (cases(), inputs(), layouts()), |(case, input, grad_layout)| {
        let layer = build(fixture, &case)?;
        if reaches_input(&*layer) {
            equals_the_reference(&*layer, &case, &input, grad_layout)
        } else {
            Ok(())
        }
    })?;
    for_all(64, cases(), |case| equals_finite_differences(fixture, &case.ordinary()))?;
    // Many rows and columns may take other paths, and many threads cut them otherwise.
    for kind in fixture.input_kinds() {
        let large = fixture.shapes().square(448, kind);
        let layer = build(fixture, &large)?;
        if !reaches_input(&*layer) {
            continue;
        }
        for (rows, threads) in [(300, 1), (300, 4), (33, 2), (1, 4)] {
            tch::set_num_threads(threads);
            let verdict = equals_the_reference(&*layer, &large, &Input::rows(rows), Layout::Contiguous);
            tch::set_num_threads(1);
            verdict
                .map_err(|broken| broken.during(format_args!("{rows} rows, {threads} threads, {large:?}")))?;
        }
    }
    for_all(64, cases(), |case| adapters_alone_train(fixture, &case.ordinary()))
}

/// What the layer's capabilities say.
fn reaches_input(layer: &dyn Layer) -> bool {
    layer.as_quantized().is_none_or(|quantized| quantized.capabilities().grad_input == Support::Yes)
}

/// The gradients of `sum(y * grad_y)` to `tensors`.
fn gradients(y: &Tensor, grad_y: &Tensor, tensors: &[&Tensor]) -> Verdict<Vec<Tensor>> {
    ensure!(y.requires_grad(), "the output is detached from an input that requires a gradient");
    let loss = (y * grad_y).sum(y.kind());
    Tensor::f_run_backward(&[loss], tensors, false, false)
        .map_err(|error| Broken::from(error).during("backward"))
}

fn equals_the_reference(layer: &dyn Layer, case: &Case, input: &Input, grad_layout: Layout) -> Verdict {
    let before = CheckpointTensors::of(layer);
    let x = input.draw(case.in_features, case.input_kind).set_requires_grad(true);
    let y = layer.forward(&x)?;
    let grad_y = Input { layout: grad_layout, scale: 1.0, seed: input.seed + 1, ..input.clone() }
        .draw(case.out_features, case.input_kind);
    let found = gradients(&y, &grad_y, &[&x])?;
    let dense = Dense::of(layer)?;
    dense.forward(&x.detach()).holds("the output, with a gradient recorded,", &y.detach())?;
    dense.grad_input(&grad_y).holds("the gradient to the input", &found[0])?;

    // The gradient of a plain sum reaches the layer as one number expanded to every place.
    let y = layer.forward(&x)?;
    let found = Tensor::f_run_backward(&[y.sum(y.kind())], &[&x], false, false)?;
    dense.grad_input(&y.ones_like()).holds("the gradient of the sum to the input", &found[0])?;
    match before.difference(layer) {
        None => Ok(()),
        Some(difference) => Err(Broken::new(format!("backward changed the layer: {difference}"))),
    }
}

/// `(f(x + v) - f(x - v)) / 2 * g = <grad, v>`: forward is linear, so the difference is exact but for rounding. The sums are
/// taken in f64, and `x +- v` are exact in every dtype.
fn equals_finite_differences(fixture: &dyn BackendFixture, case: &Case) -> Verdict {
    let layer = build(fixture, case)?;
    if !reaches_input(&*layer) {
        return Ok(());
    }
    let dense = Dense::of(&*layer)?;
    let draw = |features| sixteenths(&[3, features], case.input_kind);
    let (x, v, grad_y) = (draw(case.in_features), draw(case.in_features), draw(case.out_features));
    let (ahead, behind) = (&x + &v, &x - &v);
    let x = x.set_requires_grad(true);
    let gradient = &gradients(&layer.forward(&x)?, &grad_y, &[&x])?[0];

    let double = |tensor: &Tensor| tensor.detach().to_kind(Kind::Double);
    let (v, g) = (double(&v), double(&grad_y));
    let difference = (double(&layer.forward(&ahead)?) - double(&layer.forward(&behind)?)) * &g / 2.0;
    let directional = (double(gradient) * &v).sum(Kind::Double);
    let forward_bound = (dense.forward(&ahead).bound + dense.forward(&behind).bound) * g.abs() / 2.0;
    let gradient_bound = dense.grad_input(&grad_y).bound * v.abs();
    let bound = forward_bound.sum(Kind::Double) + gradient_bound.sum(Kind::Double);
    Approx { value: difference.sum(Kind::Double), bound }
        .holds("<gradient, v>, against differences,", &directional)
}

/// With an adapter in the way, the gradients of `A` and `B` are the reference's and the base's tensors get none.
fn adapters_alone_train(fixture: &dyn BackendFixture, case: &Case) -> Verdict {
    let layer = build(fixture, case)?;
    for (_, tensor) in layer.named_tensors() {
        // What injection does with a base layer.
        let _ = tensor.set_requires_grad(false);
    }
    let lora = wrap(fixture, &*layer, "default")?;
    train(&*lora, "default", case.seed)?;
    let adapter = Adapter::of(&*lora, "default")?;
    let x = Input::rows(6).draw(case.in_features, case.input_kind);
    let grad_y = Input { seed: case.seed, ..Input::rows(6) }.draw(case.out_features, case.input_kind);
    let (a, b) = parameters(&*lora)?;
    let loss = (lora.forward(&x)? * &grad_y).sum(case.input_kind);
    loss.f_backward()?;
    for (name, tensor) in layer.named_tensors() {
        ensure!(!tensor.requires_grad(), "tensor `{name}` requires a gradient");
        ensure!(!tensor.grad().defined(), "a gradient reached tensor `{name}`");
    }

    let double = |tensor: &Tensor| tensor.detach().to_kind(Kind::Double);
    let (x, g, rows) = (double(&x), double(&grad_y), x.size()[0]);
    let of_b = |x: &Tensor, g: &Tensor, a: &Tensor| g.transpose(0, 1).matmul(&x.matmul(&a.transpose(0, 1)));
    let of_a = |x: &Tensor, g: &Tensor, b: &Tensor| g.matmul(b).transpose(0, 1).matmul(x);
    let scaled = |value: Tensor| value * adapter.scaling;
    let magnitude = scaled(of_b(&x.abs(), &g.abs(), &adapter.a.abs()));
    let expected = Approx::summed(scaled(of_b(&x, &g, &adapter.a)), &magnitude, case.in_features + rows + 2);
    expected.holds("the gradient of B", &b.grad())?;
    let magnitude = scaled(of_a(&x.abs(), &g.abs(), &adapter.b.abs()));
    let expected = Approx::summed(scaled(of_a(&x, &g, &adapter.b)), &magnitude, case.out_features + rows + 2);
    expected.holds("the gradient of A", &a.grad())
}

fn parameters(lora: &dyn LoraLayer) -> Verdict<(Tensor, Tensor)> {
    let (Some(a), Some(b)) = (lora.lora_a("default"), lora.lora_b("default")) else {
        return Err(Broken::new("the wrapped layer has no adapter \"default\""));
    };
    // A wrapper outside of a model has nobody who told its parameters to train.
    let trains = |tensor: &Tensor| tensor.shallow_clone().set_requires_grad(true);
    Ok((trains(a), trains(b)))
}
