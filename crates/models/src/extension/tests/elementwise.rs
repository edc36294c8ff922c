//! Norms, gates and rotations against libtorch's operators in f64.

use crate::config::NormWeight;
use crate::extension::{rms_norm, rotate, silu_gate};
use proptest::prelude::*;
use tch::{Device, Kind, Tensor};

/// What is computed: how, how in libtorch's operators, and with which sizes of operands, the first of which has the result's.
struct Way<'a> {
    ours: &'a dyn Fn(&[Tensor]) -> Tensor,
    reference: &'a dyn Fn(&[Tensor]) -> Tensor,
    operands: Vec<Tensor>,
    /// How many operands, from the first on, have a gradient.
    leaves: usize,
    /// Roundings to the dtype on the way to a result.
    roundings: f64,
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop::sample::select(vec![Kind::Float, Kind::BFloat16])
}

fn normal(sizes: &[i64], kind: Kind) -> Tensor {
    Tensor::randn(sizes, (Kind::Float, Device::Cpu)).to_kind(kind)
}

/// Half of the distance of two numbers, as a part of them.
fn rounding(kind: Kind) -> f64 {
    if kind == Kind::BFloat16 { 1.0 / 256.0 } else { f64::from(f32::EPSILON) / 2.0 }
}

/// Half a place for each rounding; f32's own error, of a dozen operations and sums of some hundred terms in sixteen lanes, beside
/// it: as a part of the greatest element, since terms of a sum may cancel.
fn assert_close(name: &str, found: &Tensor, expected: &Tensor, roundings: f64) {
    assert_eq!(found.size(), expected.size(), "{name}");
    let greatest = expected.abs().max().double_value(&[]);
    let error = (found.to_kind(Kind::Double) - expected).abs();
    let own = 64.0 * f64::from(f32::EPSILON) * greatest;
    let allowed = expected.abs() * (roundings * rounding(found.kind()) * 1.01) + own;
    let worst = (error / allowed).max().double_value(&[]);
    assert!(worst <= 1.0, "{name}: {worst} times the bound");
}

impl Way<'_> {
    /// Result, gradients and, made of differentiable operators, gradients again.
    fn assert_is_the_reference(&self) {
        let leaf = |x: &Tensor, index: usize| x.detach().set_requires_grad(index < self.leaves);
        let operands: Vec<_> = self.operands.iter().enumerate().map(|(index, x)| leaf(x, index)).collect();
        let wide = |x: &Tensor| x.to_kind(Kind::Double);
        let references: Vec<_> =
            self.operands.iter().enumerate().map(|(index, x)| leaf(&wide(x), index)).collect();
        let (found, expected) = ((self.ours)(&operands), (self.reference)(&references));
        assert_close("the result", &found.detach(), &expected.detach(), self.roundings);
        let without = tch::no_grad(|| (self.ours)(&operands));
        assert!(without.equal(&found), "a gradient changes no result");

        let grad = normal(&found.size(), found.kind());
        let gradients = |of: &Tensor, leaves: &[Tensor], again: bool| {
            let grad = grad.to_kind(of.kind()).set_requires_grad(again);
            let product = (of * grad).sum(of.kind());
            let leaves: Vec<_> = leaves[..self.leaves].iter().collect();
            Tensor::f_run_backward(&[product], &leaves, true, again).expect("differentiable")
        };
        let once = gradients(&found, &operands, false);
        let expected = gradients(&expected, &references, false);
        for (once, expected) in once.iter().zip(&expected) {
            // The gradient that arrives is rounded, and so is what is made of it.
            assert_close("a gradient", once, expected, 2.0);
        }
        if found.kind() == Kind::Float {
            for (again, expected) in gradients(&found, &operands, true).iter().zip(&expected) {
                assert!(again.requires_grad(), "a gradient has a graph if one is asked for");
                assert_close("a gradient with a graph", &again.detach(), expected, 2.0);
            }
        }
    }
}

/// `x [batch, heads, time, width]` as projections lie.
fn heads(batch: i64, heads: i64, time: i64, width: i64, kind: Kind) -> Tensor {
    normal(&[batch, time, heads, width], kind).transpose(1, 2)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_norm_is_x_over_its_root_mean_square(
        rows in 1..40_i64, width in 1..700_i64, kind in kinds(), one_plus: bool, seed in 0..1000_i64,
    ) {
        tch::manual_seed(seed);
        let (style, roundings) = if one_plus { (NormWeight::OnePlus, 1.0) } else { (NormWeight::Plain, 2.0) };
        let eps = 1e-5;
        Way {
            ours: &|of| rms_norm(&of[0], &of[1], style, eps).expect("valid").expect("taken"),
            reference: &|of| {
                let mean = of[0].square().mean_dim(&[-1_i64][..], true, None);
                let weight = if one_plus { &of[1] + 1.0 } else { of[1].shallow_clone() };
                &of[0] * (mean + eps).rsqrt() * weight
            },
            operands: vec![normal(&[2, rows, width], kind), normal(&[width], kind)],
            leaves: 1,
            roundings,
        }
        .assert_is_the_reference();
    }

    #[test]
    fn a_gate_is_silu_of_one_times_the_other(
        rows in 1..40_i64, width in 1..700_i64, kind in kinds(), seed in 0..1000_i64,
    ) {
        tch::manual_seed(seed);
        Way {
            ours: &|of| silu_gate(&of[0], &of[1]).expect("valid").expect("taken"),
            reference: &|of| of[0].silu() * &of[1],
            operands: vec![normal(&[rows, width], kind) * 4.0, normal(&[rows, width], kind)],
            leaves: 2,
            roundings: 2.0,
        }
        .assert_is_the_reference();
    }

    #[test]
    fn a_rotation_turns_halves_into_each_other(
        batch in 1..3_i64, count in 1..5_i64, time in 1..60_i64, half in 1..70_i64, kind in kinds(),
        shared: bool, seed in 0..1000_i64,
    ) {
        tch::manual_seed(seed);
        let angles = [if shared { 1 } else { batch }, 1, time, 2 * half];
        let (cos, sin) = (normal(&angles, kind), normal(&angles, kind));
        Way {
            ours: &|of| rotate(&of[0], &of[1], &of[2]).expect("valid").expect("taken"),
            reference: &|of| {
                let swapped = Tensor::cat(&[of[0].narrow(3, half, half), of[0].narrow(3, 0, half)], 3);
                &of[0] * &of[1] + swapped * &of[2]
            },
            operands: vec![heads(batch, count, time, 2 * half, kind), cos, sin],
            leaves: 1,
            roundings: 1.0,
        }
        .assert_is_the_reference();
    }
}

#[test]
fn what_is_not_of_this_kind_is_left_to_libtorch() {
    let (x, wide) = (normal(&[3, 4, 5, 6], Kind::BFloat16), normal(&[3, 4, 5, 6], Kind::Float));
    let weight = normal(&[6], Kind::BFloat16);
    let norm = |x: &Tensor, weight: &Tensor| {
        rms_norm(x, weight, NormWeight::Plain, 1e-5).expect("no error").is_some()
    };
    assert!(norm(&x, &weight));
    assert!(!norm(&wide, &weight), "two dtypes");
    assert!(!norm(&x.to_kind(Kind::Half), &weight.to_kind(Kind::Half)), "f16");
    assert!(!norm(&x, &weight.narrow(0, 0, 5)), "a shorter weight");
    assert!(!norm(&x, &weight.detach().set_requires_grad(true)), "a weight that is trained");
    assert!(!norm(&x.narrow(0, 0, 0), &weight), "no rows");
    let gate = |gate: &Tensor, up: &Tensor| silu_gate(gate, up).expect("no error").is_some();
    assert!(gate(&x, &x));
    assert!(!gate(&x, &wide), "two dtypes");
    assert!(!gate(&x, &x.narrow(0, 0, 1)), "a size that would be repeated");
    let angles = normal(&[1, 1, 5, 6], Kind::BFloat16);
    let rotation = |x: &Tensor, angles: &Tensor| rotate(x, angles, angles).expect("no error").is_some();
    assert!(rotation(&x, &angles));
    assert!(!rotation(&x, &angles.narrow(2, 0, 1)), "one angle for all");
    assert!(!rotation(&x, &angles.detach().set_requires_grad(true)), "angles that are trained");
    assert!(!rotation(&x.narrow(3, 0, 5), &angles.narrow(3, 0, 5)), "an odd width");
}

/// What is no number stays none: nothing hides that a model is damaged.
#[test]
fn not_a_number_shows_in_every_result() {
    for kind in [Kind::Float, Kind::BFloat16] {
        let x = normal(&[1, 1, 3, 64], kind);
        let _ = x.get(0).get(0).get(1).get(7).fill_(f64::NAN);
        let ones = x.ones_like();
        let weight = Tensor::ones([64], (kind, Device::Cpu));
        let norm = rms_norm(&x, &weight, NormWeight::Plain, 1e-5).expect("valid").expect("taken");
        assert_eq!(norm.isnan().sum(Kind::Int64).int64_value(&[]), 64, "the row");
        let gate = silu_gate(&x, &ones).expect("valid").expect("taken");
        assert_eq!(gate.isnan().sum(Kind::Int64).int64_value(&[]), 1, "the element");
        let angles = Tensor::ones([1, 1, 3, 64], (kind, Device::Cpu));
        let turned = rotate(&x, &angles, &angles).expect("valid").expect("taken");
        assert_eq!(turned.isnan().sum(Kind::Int64).int64_value(&[]), 2, "the pair");
    }
}
