//! The layer equals its dequantized reference, for random shapes, groups, dtypes, strides and extreme scales.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use proptest::prelude::*;
use qtuner_awq::{WqLinearGemm, pack};
use qtuner_core::Layer;
use support::{error_in_bounds, reference_forward, reference_gradient};
use tch::{Device, Kind, Tensor};

/// How the values of a tensor are chosen.
#[derive(Debug, Clone, Copy)]
enum Scales {
    Ordinary,
    Negative,
    Zero,
    Subnormal,
    Large,
    Largest,
    Mixed,
}

#[derive(Debug, Clone, Copy)]
enum Zeros {
    Random,
    Lowest,
    Highest,
}

#[derive(Debug, Clone)]
struct Case {
    groups: i64,
    group_size: i64,
    words: i64,
    rows: i64,
    bias: bool,
    scales: Scales,
    zeros: Zeros,
    scales_kind: Kind,
    kind: Kind,
    strided: bool,
    seed: i64,
}

fn case() -> impl Strategy<Value = Case> {
    let sizes = (1..5i64, prop_oneof![Just(1i64), Just(3), Just(16), Just(32), Just(64)], 1..20i64, 0..40i64);
    let scales = prop_oneof![
        Just(Scales::Ordinary),
        Just(Scales::Negative),
        Just(Scales::Zero),
        Just(Scales::Subnormal),
        Just(Scales::Large),
        Just(Scales::Largest),
        Just(Scales::Mixed)
    ];
    let zeros = prop_oneof![Just(Zeros::Random), Just(Zeros::Lowest), Just(Zeros::Highest)];
    let kinds = || prop_oneof![Just(Kind::Float), Just(Kind::BFloat16), Just(Kind::Half)];
    (sizes, scales, zeros, kinds(), kinds(), any::<(bool, bool)>(), 0..1_000_000i64).prop_map(
        |((groups, group_size, words, rows), scales, zeros, scales_kind, kind, (bias, strided), seed)| Case {
            groups,
            group_size,
            words,
            rows,
            bias,
            scales,
            zeros,
            scales_kind,
            kind,
            strided,
            seed,
        },
    )
}

impl Case {
    fn layer(&self) -> WqLinearGemm {
        tch::manual_seed(self.seed);
        let cpu = (Kind::Float, Device::Cpu);
        let (rows, out) = (self.groups * self.group_size, self.words * 8);
        let codes = Tensor::randint(16, [rows, out], (Kind::Int, Device::Cpu));
        let zeros = match self.zeros {
            Zeros::Random => Tensor::randint(16, [self.groups, out], (Kind::Int, Device::Cpu)),
            Zeros::Lowest => Tensor::zeros([self.groups, out], (Kind::Int, Device::Cpu)),
            Zeros::Highest => Tensor::full([self.groups, out], 15, (Kind::Int, Device::Cpu)),
        };
        let ordinary = Tensor::rand([self.groups, out], cpu) * 0.02 + 0.001;
        let scales = match self.scales {
            Scales::Ordinary => ordinary,
            Scales::Negative => -ordinary,
            Scales::Zero => ordinary * 0.0,
            // Subnormal in f16, and tiny in the others.
            Scales::Subnormal => ordinary * 1e-4,
            // Fifteen times it is just finite in f16.
            Scales::Large => ordinary * 0.0 + 4364.0,
            // The largest f16: twice it is infinite there.
            Scales::Largest => ordinary * 0.0 + 65504.0,
            Scales::Mixed => ordinary * Tensor::randn([self.groups, out], cpu) * 50.0,
        };
        let bias = self.bias.then(|| Tensor::randn([out], cpu).to_kind(self.scales_kind));
        let scales = scales.to_kind(self.scales_kind);
        WqLinearGemm::from_tensors(pack(&codes).unwrap(), pack(&zeros).unwrap(), scales, bias).unwrap()
    }

    /// `[rows, features]`, contiguous or a transposed, stepped view; small enough that no f16 sum overflows.
    fn input(&self, features: i64, magnitude: f64) -> Tensor {
        let options = (Kind::Float, Device::Cpu);
        let values = if self.strided {
            Tensor::randn([features * 2, self.rows], options).transpose(0, 1).slice(1, 0, features * 2, 2)
        } else {
            Tensor::randn([self.rows, features], options)
        };
        let values = (values.detach() * magnitude).to_kind(self.kind);
        if self.strided {
            let stepped = values.unsqueeze(-1).repeat([1, 1, 2]);
            return stepped.select(2, 1);
        }
        values
    }

    fn magnitude(&self) -> f64 {
        match (self.scales, self.kind) {
            (Scales::Large | Scales::Largest | Scales::Mixed, Kind::Half) => 1e-4,
            _ => 1.0,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn forward_equals_the_dequantized_reference(case in case()) {
        let layer = case.layer();
        let x = case.input(layer.in_features(), case.magnitude());
        let y = layer.forward(&x).unwrap();
        let (reference, magnitudes) = reference_forward(&layer, &x);
        prop_assert_eq!(y.kind(), case.kind);
        prop_assert_eq!(y.size(), [case.rows, layer.out_features()]);
        let error = error_in_bounds(&y, &reference, &magnitudes, layer.in_features());
        prop_assert!(error <= 1.0, "{} bounds away", error);
    }

    #[test]
    fn the_gradient_equals_the_dequantized_reference(case in case()) {
        let layer = case.layer();
        let x = case.input(layer.in_features(), case.magnitude()).detach().set_requires_grad(true);
        let grad_y = case.input(layer.out_features(), case.magnitude());
        let y = layer.forward(&x).unwrap();
        if case.rows == 0 {
            y.sum(Kind::Float).backward();
            prop_assert_eq!(x.grad().size(), [0, layer.in_features()]);
            return Ok(());
        }
        let grad = &Tensor::run_backward(&[(&y * &grad_y).sum(Kind::Double)], &[&x], false, false)[0];
        let (reference, magnitudes) = reference_gradient(&layer, &grad_y);
        let error = error_in_bounds(grad, &reference, &magnitudes, layer.out_features());
        prop_assert!(error <= 1.0, "{} bounds away", error);
        for (_, tensor) in layer.named_tensors() {
            prop_assert!(!tensor.grad().defined());
        }
    }

    #[test]
    fn one_thread_and_many_give_the_same_bits(case in case()) {
        prop_assume!(case.rows > 0);
        let layer = case.layer();
        let x = case.input(layer.in_features(), case.magnitude());
        let threads = tch::get_num_threads();
        let many = layer.forward(&x).unwrap();
        tch::set_num_threads(1);
        let one = layer.forward(&x);
        tch::set_num_threads(threads);
        prop_assert_eq!(one.unwrap().view_dtype(Kind::Uint8), many.view_dtype(Kind::Uint8));
    }

    #[test]
    fn packing_is_the_inverse_of_unpacking(words in proptest::collection::vec(any::<i32>(), 1..64)) {
        let packed = Tensor::from_slice(&words).view([1, -1]);
        prop_assert_eq!(pack(&qtuner_awq::unpack(&packed).unwrap()).unwrap(), packed);
    }
}

#[test]
fn any_leading_dimensions_give_the_same_rows() {
    tch::manual_seed(3);
    let weight = Tensor::randn([48, 64], (Kind::Float, Device::Cpu));
    let layer = WqLinearGemm::from_dense(&weight, None, 16, Kind::Half).unwrap();
    let x = Tensor::randn([2, 3, 5, 64], (Kind::Float, Device::Cpu));
    let y = layer.forward(&x).unwrap();
    assert_eq!(y.size(), [2, 3, 5, 48]);
    assert_eq!(layer.forward(&x.view([30, 64])).unwrap(), y.view([30, 48]));
    assert_eq!(layer.forward(&x.view([30, 64]).get(0)).unwrap().size(), [48]);
    assert_eq!(layer.forward(&x.slice(0, 0, 0, 1)).unwrap().size(), [0, 3, 5, 48]);
}

#[test]
fn infinities_and_nans_spread_like_in_a_dense_layer() {
    let weight = Tensor::ones([8, 32], (Kind::Float, Device::Cpu));
    let layer = WqLinearGemm::from_dense(&weight, None, 32, Kind::Half).unwrap();
    for rows in [1, 40] {
        let x = Tensor::ones([rows, 32], (Kind::Float, Device::Cpu));
        let _ = x.get(0).narrow(0, 5, 1).fill_(f64::INFINITY);
        let y = layer.forward(&x).unwrap();
        assert!(bool::try_from(y.get(0).isinf().all()).unwrap());
        assert!(rows == 1 || bool::try_from(y.slice(0, 1, rows, 1).isfinite().all()).unwrap());
        let _ = x.get(0).narrow(0, 6, 1).fill_(f64::NAN);
        assert!(bool::try_from(layer.forward(&x).unwrap().get(0).isnan().all()).unwrap());
    }
}

#[test]
fn callers_on_many_threads_do_not_disturb_each_other() {
    let callers: Vec<_> = (0..6i64)
        .map(|caller| {
            std::thread::spawn(move || {
                let options = (Kind::Float, Device::Cpu);
                let weight = (Tensor::arange(96 * 256, options) * 1.3 + caller).sin().view([96, 256]);
                let layer = WqLinearGemm::from_dense(&weight, None, 32, Kind::Half).unwrap();
                for rows in [1, 5, 40] {
                    let x = (Tensor::arange(rows * 256, options) * 0.7).cos().view([rows, 256]);
                    let gradient = || {
                        let x = x.copy().set_requires_grad(true);
                        let y = layer.forward(&x).unwrap();
                        y.square().sum(Kind::Float).backward();
                        (y.detach(), x.grad())
                    };
                    let first = gradient();
                    let (reference, magnitudes) = reference_forward(&layer, &x);
                    assert!(error_in_bounds(&first.0, &reference, &magnitudes, 256) <= 1.0);
                    for _ in 0..40 {
                        assert_eq!(gradient(), first);
                    }
                }
            })
        })
        .collect();
    for caller in callers {
        caller.join().unwrap();
    }
}
