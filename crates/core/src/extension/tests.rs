//! The node against the same sum written with libtorch's operators, in f64 where the numbers are compared.

use super::{Lora, LowRank, add_lora, backward, linear, low_rank};
use crate::autograd::inference_mode;
use proptest::prelude::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use tch::{Device, Kind, Tensor};

/// Numbers between -0.5 and 0.5 without a pattern, the same in every run.
fn numbers(size: &[i64], phase: f64) -> Tensor {
    let count = size.iter().product::<i64>();
    let ramp = Tensor::arange(count, (Kind::Double, Device::Cpu));
    (((ramp * 12.9898 + phase).sin() * 43_758.545_3).frac().abs() - 0.5).reshape(size)
}

/// The sizes of a case, and whether B has a bias.
#[derive(Debug, Clone)]
struct Case {
    rows: i64,
    r#in: i64,
    out: i64,
    rank: i64,
    biased: bool,
}

impl Case {
    /// `y`, `x`, `A`, `B` and the bias, as leaves that want gradients.
    fn leaves(&self, outer: Kind, inner: Kind) -> Vec<Tensor> {
        let leaf = |size: &[i64], phase, kind| numbers(size, phase).to_kind(kind).set_requires_grad(true);
        let mut leaves = vec![
            leaf(&[self.rows, self.out], 0.1, outer),
            leaf(&[self.rows, self.r#in], 0.2, outer),
            leaf(&[self.rank, self.r#in], 0.3, inner),
            leaf(&[self.out, self.rank], 0.4, inner),
        ];
        leaves.extend(self.biased.then(|| leaf(&[self.out], 0.5, inner)));
        leaves
    }
}

const SCALING: f64 = 1.75;

fn fused(leaves: &[Tensor]) -> Tensor {
    let low = low_rank(&leaves[1], &leaves[2]).unwrap().low;
    add_lora(leaves[0].shallow_clone(), &low, lora(leaves)).unwrap()
}

fn lora(leaves: &[Tensor]) -> Lora<'_> {
    Lora { b: &leaves[3], bias: leaves.get(4), scaling: SCALING }
}

fn written_out(leaves: &[Tensor]) -> Tensor {
    let low = leaves[1].to_kind(leaves[2].kind()).linear(&leaves[2], None::<&Tensor>);
    &leaves[0] + (low.linear(&leaves[3], leaves.get(4)) * SCALING).to_kind(leaves[0].kind())
}

/// The gradients of `sum(y * weights)`.
fn gradients(y: &Tensor, leaves: &[Tensor]) -> Vec<Tensor> {
    let weights = numbers(&y.size(), 0.9).to_kind(y.kind());
    Tensor::run_backward(&[(y * weights).sum(y.kind())], &leaves.iter().collect::<Vec<_>>(), false, false)
}

/// The largest difference, over the largest number there is.
fn distance(one: &Tensor, other: &Tensor) -> f64 {
    let [one, other] = [one, other].map(|tensor| tensor.detach().to_kind(Kind::Double));
    ((&one - &other).abs().max() / other.abs().max().clamp_min(1e-30)).double_value(&[])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_node_is_the_sum_that_it_stands_for_and_so_are_its_gradients(
        rows in 1i64..40, r#in in 1i64..30, out in 1i64..30, rank in 1i64..9, biased: bool,
    ) {
        let leaves = Case { rows, r#in, out, rank, biased }.leaves(Kind::Double, Kind::Double);
        let (y, expected) = (fused(&leaves), written_out(&leaves));
        prop_assert!(distance(&y, &expected) < 1e-14);
        for (gradient, expected) in gradients(&y, &leaves).iter().zip(gradients(&expected, &leaves)) {
            prop_assert!(distance(gradient, &expected) < 1e-13);
        }
    }

    #[test]
    fn few_rows_and_many_in_every_dtype_are_within_the_roundings_of_the_sum_in_f64(
        rows in 1i64..24, r#in in 1i64..70, out in 1i64..70, rank in 1i64..40, biased: bool,
    ) {
        for outer in [Kind::Float, Kind::BFloat16, Kind::Half] {
            let leaves = Case { rows, r#in, out, rank, biased }.leaves(outer, Kind::Float);
            let wide = |of: fn(&Tensor) -> Tensor| -> Vec<Tensor> {
                leaves.iter().map(|leaf| of(&leaf.detach().to_kind(Kind::Double))).collect()
            };
            let expected = written_out(&wide(Tensor::shallow_clone));
            // What is summed, without signs: each of so many f32 operations may be off by half a step of it.
            let magnitude = written_out(&wide(Tensor::abs));
            let operations = u32::try_from(r#in + rank + 4).unwrap();
            // And the product and the sum are rounded to the outer dtype.
            let step = match outer {
                Kind::Float => 0.0,
                Kind::BFloat16 => 2f64.powi(-8),
                _ => 2f64.powi(-11),
            };
            let bound = magnitude * (f64::from(operations) * 2f64.powi(-24) + 2.0 * step);
            let found = fused(&leaves);
            prop_assert_eq!(found.kind(), outer);
            let excess = ((found.to_kind(Kind::Double) - expected).abs() - bound).max().double_value(&[]);
            // Numbers below the least normal f16 have a step of their own.
            prop_assert!(excess <= 2f64.powi(-24), "{:?}: {}", outer, excess);
        }
    }
}

#[test]
fn what_is_passed_on_brings_the_bases_gradient_along() {
    // The first base's gradient is one number in many places, so it is copied; the second's is changed in place.
    let bases: [fn(&Tensor, &Tensor) -> Tensor; 2] =
        [|x, _| x.sum_dim_intlist(-1, true, x.kind()), |x, weight| x.matmul(&weight.to_kind(x.kind()))];
    let weight = numbers(&[20, 30], 0.7);
    for (outer, bound) in
        [(Kind::Double, 1e-13), (Kind::Float, 1e-5), (Kind::Half, 0.005), (Kind::BFloat16, 0.03)]
    {
        let inner = if outer == Kind::Double { outer } else { Kind::Float };
        for (base, rows) in bases.into_iter().flat_map(|base| [(base, 1), (base, 40)]) {
            let leaves = Case { rows, r#in: 20, out: 30, rank: 4, biased: false }.leaves(outer, inner);
            // Two adapters, one behind the other.
            let first = low_rank(&leaves[1], &leaves[2]).unwrap();
            let second = low_rank(&first.passed.unwrap(), &leaves[2]).unwrap();
            let passed = second.passed.unwrap();
            let y = &leaves[0] + base(&passed, &weight);
            let y = add_lora(add_lora(y, &first.low, lora(&leaves)).unwrap(), &second.low, lora(&leaves))
                .unwrap();

            let copies =
                leaves.iter().map(|leaf| leaf.detach().to_kind(Kind::Double).set_requires_grad(true));
            let wide: Vec<Tensor> = copies.collect();
            let mut summands: Vec<Tensor> = wide.iter().map(Tensor::shallow_clone).collect();
            summands[0] = &wide[0] + base(&wide[1], &weight);
            summands[0] = written_out(&summands);
            let expected = gradients(&written_out(&summands), &wide);
            for (index, (gradient, expected)) in gradients(&y, &leaves).iter().zip(expected).enumerate() {
                let found = distance(gradient, &expected);
                assert!(found <= bound, "{outer:?}, {rows} rows, {index}: {found}");
            }
        }
    }
}

#[test]
fn a_gradient_that_somebody_asked_for_is_not_changed() {
    let leaves = Case { rows: 3, r#in: 20, out: 30, rank: 4, biased: false }.leaves(Kind::Float, Kind::Float);
    let weight = numbers(&[20, 30], 0.7).to_kind(Kind::Float);
    let LowRank { passed, low } = low_rank(&leaves[1], &leaves[2]).unwrap();
    let passed = passed.unwrap();
    let y = add_lora(passed.matmul(&weight), &low, lora(&leaves)).unwrap();
    let asked = Tensor::run_backward(&[y.sum(Kind::Float)], &[&passed, &leaves[1]], false, false);
    let of_base = Tensor::ones_like(&y).matmul(&weight.transpose(0, 1));
    assert!(distance(&asked[0], &of_base) < 1e-6);
    assert!(distance(&asked[1], &of_base) > 1e-3);
}

#[test]
fn nothing_is_passed_on_where_no_gradient_of_the_input_is_recorded() {
    let leaves = Case { rows: 3, r#in: 6, out: 7, rank: 2, biased: false }.leaves(Kind::Float, Kind::Float);
    assert!(low_rank(&leaves[1].detach(), &leaves[2]).unwrap().passed.is_none());
    assert!(tch::no_grad(|| low_rank(&leaves[1], &leaves[2])).unwrap().passed.is_none());
}

#[test]
fn a_sum_takes_the_memory_of_what_nobody_else_sees_and_changes_nothing_else() {
    let leaves =
        Case { rows: 3, r#in: 6, out: 7, rank: 2, biased: false }.leaves(Kind::BFloat16, Kind::Float);
    let low = low_rank(&leaves[1], &leaves[2]).unwrap().low;
    let expected = fused(&leaves).detach();
    let sum = |y: Tensor| add_lora(y, &low, lora(&leaves)).unwrap();
    let quiet = |y: Tensor| tch::no_grad(|| sum(y));
    let fresh = || &leaves[0] * 1.0;
    let views: [fn(&Tensor) -> Tensor; 4] =
        [Tensor::shallow_clone, Tensor::detach, |y| y.view([21]), |y| y.slice(0, 0, 1, 1)];
    for add in [&sum as &dyn Fn(Tensor) -> Tensor, &quiet] {
        let own = tch::no_grad(fresh);
        let place = own.data_ptr();
        let y = add(own);
        assert_eq!((y.data_ptr(), y.detach()), (place, expected.shallow_clone()));
        for view in views {
            let seen = fresh();
            let (other, place) = (view(&seen), seen.data_ptr());
            let before = other.detach().copy();
            let y = add(seen);
            assert_ne!(y.data_ptr(), place);
            assert_eq!((y.detach(), other.detach()), (expected.shallow_clone(), before));
        }
        // An operator keeps the order of what it is given.
        let columns = leaves[0].detach().transpose(0, 1).contiguous().transpose(0, 1) * 1.0;
        assert!(!columns.is_contiguous());
        assert_eq!(add(columns).detach(), expected);
        // The gradient of a power of e needs the power.
        let saved = leaves[0].exp();
        let (place, graph) = (saved.data_ptr(), saved.sum(Kind::BFloat16));
        assert_ne!(add(saved).data_ptr(), place);
        graph.backward();
    }
}

#[test]
fn a_base_that_computes_in_inference_mode_leaves_the_adapter_its_gradients() {
    let leaves = Case { rows: 3, r#in: 6, out: 7, rank: 2, biased: false }.leaves(Kind::Float, Kind::Float);
    let y = inference_mode(|| &leaves[0] * 1.0).unwrap();
    let low = low_rank(&leaves[1], &leaves[2]).unwrap().low;
    add_lora(y, &low, lora(&leaves)).unwrap().silu().sum(Kind::Float).backward();
    for leaf in &leaves[1..] {
        assert!(leaf.grad().abs().max().double_value(&[]) > 0.0);
    }
}

#[test]
fn slices_of_rows_change_nothing_but_the_order_of_sums() {
    // In f16, 700 rows of 4096, 8192 and twice 8192 numbers are cut into three, six and eleven slices.
    let case = Case { rows: 700, r#in: 4096, out: 8192, rank: 4, biased: true };
    for outer in [Kind::Float, Kind::BFloat16, Kind::Half] {
        let leaves = case.leaves(outer, Kind::Float);
        let (y, expected) = (fused(&leaves), written_out(&leaves));
        // One rounding to the outer dtype of the product and one of the sum may fall differently; sums of f32, over 4096 and
        // 8192 numbers here, have errors that grow like the root of their number at most.
        let step = match outer {
            Kind::Float => 2f64.powi(-24),
            Kind::BFloat16 => 2f64.powi(-8),
            _ => 2f64.powi(-11),
        };
        let bound = 8192f64.sqrt() * 2f64.powi(-24) + 2.0 * step;
        assert!(distance(&y, &expected) <= bound, "{outer:?}");
        for (index, (gradient, expected)) in
            gradients(&y, &leaves).iter().zip(gradients(&expected, &leaves)).enumerate()
        {
            assert_eq!(gradient.kind(), expected.kind());
            let found = distance(gradient, &expected);
            assert!(found <= bound, "{outer:?} {index}: {found}");
        }
    }
}

#[test]
fn gradients_reach_what_asks_for_them_alone() {
    let case = Case { rows: 5, r#in: 6, out: 7, rank: 2, biased: true };
    for frozen in 0..5 {
        let leaves = case.leaves(Kind::Float, Kind::Float);
        let _ = leaves[frozen].set_requires_grad(false);
        fused(&leaves).sum(Kind::Float).backward();
        for (index, leaf) in leaves.iter().enumerate() {
            assert_eq!(leaf.grad().defined(), index != frozen, "leaf {index} with {frozen} frozen");
        }
    }
}

#[test]
fn without_gradients_the_values_are_the_same() {
    let case = Case { rows: 5, r#in: 6, out: 7, rank: 2, biased: false };
    let leaves = case.leaves(Kind::BFloat16, Kind::Float);
    let y = fused(&leaves);
    for quiet in [tch::no_grad(|| fused(&leaves)), inference_mode(|| fused(&leaves)).unwrap()] {
        assert!(!quiet.requires_grad());
        assert_eq!(y.detach(), quiet);
    }
}

#[test]
fn inference_mode_ends_with_its_body_however_that_ends() {
    let x = numbers(&[3], 0.1).set_requires_grad(true);
    let records = || (&x * 2.0).requires_grad();
    let nested = inference_mode(|| (records(), inference_mode(records).unwrap(), records())).unwrap();
    assert_eq!(nested, (false, false, false));
    assert!(records());
    let unwound = catch_unwind(AssertUnwindSafe(|| inference_mode(|| -> () { panic!("on purpose") })));
    assert!(unwound.is_err() && records());
}

/// `y` of leaves.
type Sum<'a> = &'a dyn Fn(&[Tensor]) -> Tensor;

#[test]
fn a_second_derivative_is_that_of_the_sum() {
    // A base layer that reads x, too.
    let base = |x: &Tensor| x.square().sum_dim_intlist(-1, true, Kind::Double);
    let over_base = |leaves: &[Tensor]| {
        let LowRank { passed, low } = low_rank(&leaves[1], &leaves[2]).unwrap();
        add_lora(&leaves[0] + base(&passed.unwrap()), &low, lora(leaves)).unwrap()
    };
    let written_out_over_base = |leaves: &[Tensor]| written_out(leaves) + base(&leaves[1]);
    let second = |sum: Sum<'_>| {
        let leaves =
            Case { rows: 3, r#in: 4, out: 5, rank: 2, biased: true }.leaves(Kind::Double, Kind::Double);
        let inputs: Vec<&Tensor> = leaves.iter().collect();
        let first = Tensor::run_backward(&[sum(&leaves).square().sum(Kind::Double)], &inputs, true, true);
        let norm: Tensor = first.iter().map(|gradient| gradient.square().sum(Kind::Double)).sum();
        Tensor::run_backward(&[norm], &inputs, false, false)
    };
    let pairs: [[Sum<'_>; 2]; 2] = [[&fused, &written_out], [&over_base, &written_out_over_base]];
    for [one, other] in pairs {
        for (one, other) in second(one).iter().zip(second(other)) {
            assert!(distance(one, &other) < 1e-12);
        }
    }
}

#[test]
fn shapes_of_more_dimensions_and_none_at_all_go_through() {
    let leaves = Case { rows: 1, r#in: 6, out: 7, rank: 2, biased: false }.leaves(Kind::Float, Kind::Float);
    for size in [vec![], vec![2, 3], vec![0], vec![2, 0]] {
        let of_width = |last| numbers(&[&size[..], &[last]].concat(), 0.0).to_kind(Kind::Float);
        let x = of_width(6).set_requires_grad(true);
        let LowRank { passed, low } = low_rank(&x, &leaves[2]).unwrap();
        assert_eq!(passed.unwrap().size(), x.size());
        let y = add_lora(of_width(7), &low, lora(&leaves)).unwrap();
        assert_eq!(y.size(), of_width(7).size());
        y.sum(Kind::Float).backward();
        assert_eq!(x.grad().size(), x.size());
    }
}

#[test]
fn what_libtorch_refuses_is_an_error() {
    let leaves = Case { rows: 2, r#in: 6, out: 7, rank: 2, biased: false }.leaves(Kind::Float, Kind::Float);
    assert!(low_rank(&leaves[1], &leaves[3]).is_err());
    let low = low_rank(&leaves[1], &leaves[2]).unwrap().low;
    assert!(add_lora(leaves[0].shallow_clone(), &low, Lora { b: &leaves[2], ..lora(&leaves) }).is_err());
}

#[test]
fn rows_of_a_dense_weight_are_within_the_roundings_of_libtorchs_linear_in_f64() {
    let (depth, out) = (1030, 300);
    for kind in [Kind::Float, Kind::BFloat16, Kind::Half] {
        let (weight, bias) = (numbers(&[out, depth], 0.1).to_kind(kind), numbers(&[out], 0.2).to_kind(kind));
        let few = [vec![depth], vec![1, depth], vec![2, 2, depth], vec![5, depth], vec![0, depth]];
        for size in few.into_iter().chain([vec![40, depth], vec![3, 17, depth]]) {
            let x = numbers(&size, 0.3).to_kind(kind);
            for bias in [None, Some(&bias)] {
                let wide = |of: fn(&Tensor) -> Tensor| {
                    let [x, weight] = [&x, &weight].map(|tensor| of(&tensor.to_kind(Kind::Double)));
                    x.linear(&weight, bias.map(|bias| of(&bias.to_kind(Kind::Double))))
                };
                let (expected, magnitude) = (wide(Tensor::shallow_clone), wide(Tensor::abs));
                // One rounding of the sum, and, where libtorch sums in its own way, one of the bias.
                let step = match kind {
                    Kind::Float => 0.0,
                    Kind::BFloat16 => 2f64.powi(-8),
                    _ => 2f64.powi(-11),
                };
                let sums = magnitude * f64::from(1031) * 2f64.powi(-24);
                let bound = (sums + expected.abs() * 2.0 * step) * 1.01;
                let found = linear(&x, &weight, bias).unwrap();
                assert_eq!((found.kind(), found.size()), (kind, expected.size()));
                if found.numel() > 0 {
                    let excess =
                        ((found.to_kind(Kind::Double) - expected).abs() - bound).max().double_value(&[]);
                    assert!(excess <= 0.0, "{kind:?} {size:?}: {excess}");
                }
            }
        }
    }
}

/// So many columns that a weight of f16 is cast in three pieces, the last one a short one.
#[test]
fn a_large_weight_of_f16_is_cast_piece_by_piece() {
    let (rows, depth, out) = (40, 1030, 4500);
    let (x, weight, bias) = (numbers(&[rows, depth], 0.1), numbers(&[out, depth], 0.2), numbers(&[out], 0.3));
    let of_kind = |kind: Kind| [&x, &weight, &bias].map(|tensor| tensor.to_kind(Kind::Half).to_kind(kind));
    let differentiated = |kind: Kind| {
        let [x, weight, bias] = of_kind(kind);
        let x = x.set_requires_grad(true);
        let y = linear(&x, &weight, Some(&bias)).unwrap();
        let grad = numbers(&y.size(), 0.4).to_kind(Kind::Half).to_kind(kind);
        backward(&y, &grad).unwrap();
        let without = tch::no_grad(|| linear(&x, &weight, Some(&bias)).unwrap());
        (y.detach(), without, x.grad(), grad)
    };
    let (y, without, of_x, _) = differentiated(Kind::Half);
    let (expected, _, of_expected, grad) = differentiated(Kind::Double);
    assert_eq!(y, without);
    let [x, weight, bias] = of_kind(Kind::Double);
    let terms = x.abs().linear(&weight.abs(), Some(&bias.abs()));
    let of_terms = grad.abs().matmul(&weight.abs());
    for (found, expected, terms, count) in
        [(&y, &expected, terms, depth + 1), (&of_x, &of_expected, of_terms, out + 3)]
    {
        // Sums in f32, the gradient's of pieces too, and one rounding.
        let sums = terms * f64::from(u32::try_from(count).unwrap()) * 2f64.powi(-24);
        let allowed = (sums + expected.abs() * 2f64.powi(-11)) * 1.01;
        let worst = ((found.to_kind(Kind::Double) - expected).abs() / allowed).max().double_value(&[]);
        assert!(worst <= 1.0, "{worst} times the bound");
    }
}

#[test]
fn a_dense_weight_keeps_its_gradient_whatever_the_rows() {
    for rows in [1, 40] {
        let weight = numbers(&[600, 600], 0.1).to_kind(Kind::Float).set_requires_grad(true);
        let x = numbers(&[rows, 600], 0.2).to_kind(Kind::Float);
        linear(&x, &weight, None).unwrap().sum(Kind::Float).backward();
        let expected = x.sum_dim_intlist(0, true, Kind::Float).expand([600, 600], false);
        assert!(distance(&weight.grad(), &expected) < 1e-5, "{rows} rows");
    }
}

#[test]
fn gradients_reach_through_a_dense_weight_that_is_not_trained() {
    let (depth, out) = (1030, 300);
    let (weight, bias) = (numbers(&[out, depth], 0.1), numbers(&[out], 0.2));
    for size in [vec![2, depth], vec![40, depth], vec![3, 17, depth]] {
        let x = numbers(&size, 0.3);
        let of_x = |kind: Kind, again: bool| {
            let [x, weight, bias] = [&x, &weight, &bias].map(|tensor| tensor.to_kind(kind));
            let x = x.set_requires_grad(true);
            let y = linear(&x, &weight, Some(&bias)).unwrap();
            let product = (&y * &y).sum(kind);
            Tensor::run_backward(&[product], &[&x], again, again).remove(0)
        };
        let expected = of_x(Kind::Double, false);
        for (kind, again) in [(Kind::Float, false), (Kind::Float, true), (Kind::Half, false)] {
            let found = of_x(kind, again);
            assert_eq!((found.kind(), found.requires_grad()), (kind, again));
            // Two sums of so many terms, each rounding relative to the greatest of them; f16 rounds operands, y and result.
            let sums = f64::from(2 * (1030 + 300)) * 2f64.powi(-24);
            let bound = if kind == Kind::Half { sums + 5.0 * 2f64.powi(-11) } else { sums };
            assert!(distance(&found.detach(), &expected) < bound, "{kind:?} {size:?}");
        }
    }
}

#[test]
fn a_backward_pass_without_a_graph_or_with_a_gradient_of_another_shape_is_an_error() {
    let x = numbers(&[3], 0.1).set_requires_grad(true);
    let y = &x * 2.0;
    let message = |error: tch::TchError| error.to_string();
    let shape = message(backward(&y, &numbers(&[2], 0.2)).unwrap_err());
    assert!(shape.contains("shape"), "{shape}");
    assert!(!x.grad().defined());
    backward(&y, &numbers(&[3], 0.2)).unwrap();
    assert_eq!(x.grad(), numbers(&[3], 0.2) * 2.0);
    let none = message(backward(&numbers(&[3], 0.1), &numbers(&[3], 0.2)).unwrap_err());
    assert!(none.contains("does not require grad"), "{none}");
    let square = &x * &x;
    backward(&square, &numbers(&[3], 0.2)).unwrap();
    let twice = message(backward(&square, &numbers(&[3], 0.2)).unwrap_err());
    assert!(twice.contains("a second time"), "{twice}");
}

#[test]
fn the_first_gradient_of_a_backward_pass_is_cast_to_the_tensors_dtype() {
    let x = numbers(&[3], 0.1).set_requires_grad(true);
    let narrow = numbers(&[3], 0.2).to_kind(Kind::Float);
    backward(&(&x * 2.0), &narrow).unwrap();
    assert_eq!(x.grad(), narrow.to_kind(Kind::Double) * 2.0);
}
