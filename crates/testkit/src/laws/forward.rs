//! Law 1: forward equals the dequantized reference; it is linear in the input, gives the same rows however they are batched,
//! and is bit-equal for one thread and many (within the bound, where the backend leaves its sums to a BLAS library).
//!
//! The bound is that of [`Dense::forward`]: `in` products summed in f32, in any order, and the roundings to the input's dtype.

use crate::adapted::{build, output};
use crate::approx::Approx;
use crate::bytes::same_values;
use crate::dense::Dense;
use crate::input::{Input, Layout, inputs, sixteenths};
use crate::run::{Verdict, ensure, for_all};
use crate::{BackendFixture, Case, ThreadAgreement};
use qtuner_core::autograd::inference_mode;
use tch::{Kind, Tensor};

pub(super) fn law(fixture: &dyn BackendFixture) -> Verdict {
    let cases = || fixture.shapes().cases(&fixture.input_kinds());
    for_all(256, (cases(), inputs()), |(case, input)| equals_the_reference(fixture, &case, &input))?;
    for_all(64, cases(), |case| is_linear(fixture, &case))?;
    for_all(48, (cases(), 2i64..40), |(case, rows)| rows_are_independent(fixture, &case, rows))?;
    for_all(16, (cases(), 1i64..40), |(case, rows)| threads_agree(fixture, &case.ordinary(), &[rows]))?;
    fixture.input_kinds().into_iter().try_for_each(|kind| {
        let large = fixture.shapes().square(448, kind);
        threads_agree(fixture, &large, &[1, 5, 33, 300])
            .map_err(|broken| broken.during(format_args!("for {large:?}")))
    })
}

fn equals_the_reference(fixture: &dyn BackendFixture, case: &Case, input: &Input) -> Verdict {
    let layer = build(fixture, case)?;
    let found = (layer.in_features(), layer.out_features());
    ensure!(
        found == (case.in_features, case.out_features),
        "the layer {layer:?} says its sizes are {found:?}"
    );
    let dense = Dense::of(&*layer)?;
    tch::manual_seed(case.seed);
    if let Some(expected) = fixture.expected_weight(case) {
        let expected = expected.to_kind(Kind::Float);
        let found = dense.weight().to_kind(Kind::Float);
        ensure!(same_values(&found, &expected), "dequantize differs from the weight of the case");
    }
    let x = input.draw(case.in_features, case.input_kind);
    let y = layer.forward(&x)?;
    ensure!(y.kind() == x.kind(), "the output is {:?}, expected the input's {:?}", y.kind(), x.kind());
    let expected = dense.forward(&x);
    expected.holds("the output", &y)?;
    let y = inference_mode(|| layer.forward(&x))??;
    expected.holds("the output in inference mode", &y.copy())
}

/// `f(a + b) = f(a) + f(b) - f(0)` and `f(0) = bias`, for inputs whose sum is exact.
fn is_linear(fixture: &dyn BackendFixture, case: &Case) -> Verdict {
    let case = case.clone().ordinary();
    let layer = build(fixture, &case)?;
    let dense = Dense::of(&*layer)?;
    let draw = || sixteenths(&[5, case.in_features], case.input_kind);
    let (a, b) = (draw(), draw());
    let of = |x: &Tensor| -> Verdict<Approx> {
        let bound = dense.forward(x).bound;
        Ok(Approx { bound, ..Approx::exact(&layer.forward(x)?) })
    };
    let zero = of(&a.zeros_like())?;
    let sum = (&a + &b).to_kind(case.input_kind);
    let expected = of(&a)?.plus(&of(&b)?).plus(&Approx { value: -zero.value, bound: zero.bound });
    let found = layer.forward(&sum)?;
    expected.widened(&dense.forward(&sum).bound).holds("f(a + b), against f(a) + f(b) - f(0),", &found)
}

/// Each row alone, the rows in two halves, and the rows in other dimensions.
fn rows_are_independent(fixture: &dyn BackendFixture, case: &Case, rows: i64) -> Verdict {
    let case = case.clone().ordinary();
    let layer = build(fixture, &case)?;
    let x = Input { leading: vec![rows], layout: Layout::Contiguous, scale: 1.0, seed: case.seed }
        .draw(case.in_features, case.input_kind);
    let all = output(&*layer, &x)?;
    let both = Dense::of(&*layer)?.forward(&x).bound * 2.0;
    let expected = Approx { bound: both, ..Approx::exact(&all) };
    let alone: Vec<Tensor> = (0..rows).map(|row| output(&*layer, &x.get(row))).collect::<Verdict<_>>()?;
    expected.holds("the output of each row alone, against all rows together,", &Tensor::stack(&alone, 0))?;
    let half = rows / 2;
    let halves = [(0, half), (half, rows - half)].map(|(start, length)| x.narrow(0, start, length));
    let halves: Vec<Tensor> = halves.iter().map(|x| output(&*layer, x)).collect::<Verdict<_>>()?;
    expected.holds(
        "the output of the rows in two halves, against all rows together,",
        &Tensor::cat(&halves, 0),
    )?;
    let deep = output(&*layer, &x.view([1, rows, 1, case.in_features]))?;
    ensure!(deep.size() == [1, rows, 1, case.out_features], "[1, {rows}, 1, in] became {:?}", deep.size());
    expected.holds("the output of four dimensions, against two,", &deep.view([rows, case.out_features]))
}

fn threads_agree(fixture: &dyn BackendFixture, case: &Case, rows: &[i64]) -> Verdict {
    let layer = build(fixture, case)?;
    let dense = Dense::of(&*layer)?;
    for rows in rows {
        let x = Input::rows(*rows).draw(case.in_features, case.input_kind);
        tch::set_num_threads(1);
        let one = output(&*layer, &x)?;
        let expected = dense.forward(&x);
        expected.holds("the output by 1 thread", &one)?;
        for threads in [2, 3, 4] {
            tch::set_num_threads(threads);
            let many = output(&*layer, &x)?;
            let what = format!("the output of {rows} rows by {threads} threads");
            if fixture.thread_agreement() == ThreadAgreement::BitEqual {
                ensure!(same_values(&one, &many), "{what} is not the output by 1 thread");
            }
            expected.holds(&what, &many)?;
        }
    }
    Ok(())
}
