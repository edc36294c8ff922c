//! The operators as libtorch sees them: kernels of every kind agree, and autograd does what it should.

use super::{Operands, Route, gemm, gemm_grad_input, gemm_size};
use crate::WqLinearGemm;
use qtuner_core::{Layer, QuantBackend};
use tch::{Device, Kind, Tensor};

const CPU: (Kind, Device) = (Kind::Float, Device::Cpu);

fn layer(bias: Option<&Tensor>) -> WqLinearGemm {
    tch::manual_seed(11);
    WqLinearGemm::from_dense(&Tensor::randn([40, 96], CPU), bias, 32, Kind::Half).unwrap()
}

#[test]
fn the_fallback_for_other_devices_equals_the_cpu_kernel() {
    let bias = Tensor::randn([40], CPU);
    let layer = layer(Some(&bias));
    for (kind, epsilon) in
        [(Kind::Float, 2f64.powi(-24)), (Kind::BFloat16, 2f64.powi(-8)), (Kind::Half, 2f64.powi(-11))]
    {
        let x = Tensor::randn([3, 5, 96], CPU).to_kind(kind);
        let fallback = layer.gemm(Route::Fallback, &x).unwrap();
        let kernel = layer.gemm(Route::Dispatched, &x).unwrap();
        assert_eq!((fallback.kind(), fallback.size()), (kernel.kind(), kernel.size()));
        // Each sums 96 products in f32, rounds the weights, the sum and the sum with the bias at most once to `kind`.
        let weight = layer.dequantize(Kind::Float).unwrap().abs();
        let magnitudes = x.to_kind(Kind::Float).abs().linear(&weight, Some(&bias.abs()));
        let bound = magnitudes * (2.0 * (96.0 * 2f64.powi(-24) + 3.0 * epsilon));
        let excess = ((fallback - kernel).to_kind(Kind::Float).abs() - bound).max().double_value(&[]);
        assert!(excess <= 0.0, "{kind:?}: {excess} above the bound");
    }
}

#[test]
fn the_meta_kernel_knows_the_size() {
    let layer = layer(None);
    for size in [vec![96], vec![0, 96], vec![2, 3, 96]] {
        let x = Tensor::zeros(&size, CPU);
        let mut expected = size.clone();
        *expected.last_mut().unwrap() = 40;
        assert_eq!(gemm_size(&x, layer.operands()).unwrap(), expected);
    }
    let error = gemm_size(&Tensor::zeros([3, 95], CPU), layer.operands()).unwrap_err().to_string();
    assert!(error.contains("[..., 96]") && error.contains("[3, 95]"), "{error}");
}

#[test]
fn wrong_operands_are_errors_that_say_found_and_expected() {
    let layer = layer(None);
    let x = Tensor::zeros([2, 96], CPU);
    let zeros = Tensor::zeros([2, 5], (Kind::Int, Device::Cpu));
    let wrong = Operands { qzeros: &zeros, ..layer.operands() };
    let error = gemm(Route::Dispatched, &x, wrong, None).unwrap_err().to_string();
    assert!(error.contains("qzeros must be [groups, 5]") && error.contains("[2, 5]"), "{error}");
    let error =
        gemm(Route::Dispatched, &x.to_kind(Kind::Double), layer.operands(), None).unwrap_err().to_string();
    assert!(error.contains("float32, bfloat16 or float16"), "{error}");
    let error = gemm(Route::Dispatched, &x, layer.operands(), Some(&Tensor::zeros([41], CPU))).unwrap_err();
    assert!(error.to_string().contains("bias must be [40]"), "{error}");
}

#[test]
fn a_gradient_that_does_not_fit_is_an_error_that_says_found_and_expected() {
    let layer = layer(None);
    let error = layer.grad_input(&Tensor::zeros([2, 96], CPU)).unwrap_err().to_string();
    assert!(error.contains("[..., 40]") && error.contains("[2, 96]"), "{error}");
    let error = layer.grad_input(&Tensor::zeros([2, 40], CPU).to_kind(Kind::Double)).unwrap_err().to_string();
    assert!(error.contains("float32, bfloat16 or float16"), "{error}");
}

#[test]
fn double_backward_is_refused_and_says_so() {
    let layer = layer(None);
    let x = Tensor::randn([4, 96], CPU).set_requires_grad(true);
    let y = layer.forward(&x).unwrap().square().sum(Kind::Float);
    let gradient = Tensor::f_run_backward(&[y], &[&x], true, true).unwrap();
    let error = gradient[0].square().sum(Kind::Float).f_backward().unwrap_err().to_string();
    assert!(error.contains("double backward is not supported"), "{error}");
}

#[test]
fn the_gradient_is_the_operators_own_and_reaches_x_and_bias_alone() {
    let bias = Tensor::randn([40], CPU);
    let layer = layer(Some(&bias));
    let x = Tensor::randn([2, 3, 96], CPU).set_requires_grad(true);
    let grad_y = Tensor::randn([2, 3, 40], CPU);
    let trained = layer.bias().unwrap().set_requires_grad(true);
    (layer.forward(&x).unwrap() * &grad_y).sum(Kind::Float).backward();
    assert_eq!(x.grad(), gemm_grad_input(&grad_y, layer.operands()).unwrap());
    let expected = grad_y.view([6, 40]).sum_dim_intlist([0i64].as_slice(), false, Kind::Float);
    assert!(trained.grad().allclose(&expected, 1e-6, 1e-6, false));
    for (name, tensor) in layer.named_tensors().into_iter().filter(|(name, _)| *name != "bias") {
        assert!(!tensor.grad().defined(), "{name}");
    }
}

#[test]
fn gradients_do_not_depend_on_what_ran_before() {
    let layer = layer(None);
    let x = Tensor::randn([7, 96], CPU);
    let gradient = || {
        let x = x.copy().set_requires_grad(true);
        layer.forward(&x).unwrap().square().sum(Kind::Float).backward();
        x.grad()
    };
    let alone = gradient();
    let _ = tch::no_grad(|| layer.forward(&x).unwrap());
    assert_eq!(gradient(), alone);
}
