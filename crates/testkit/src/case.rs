//! Layers to be built: which ones a backend can hold, and one of them.

use proptest::prelude::{Strategy, any};
use tch::{Device, Kind, Tensor};

/// The sizes that a format can hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shapes {
    /// `in_features` is a multiple of this (and of the group size).
    pub in_multiple: i64,
    /// `out_features` is a multiple of this.
    pub out_multiple: i64,
    /// Group sizes to try, in input features; -1 means the whole input. The first is the format's usual one. A format without
    /// groups has `[-1]`.
    pub group_sizes: Vec<i64>,
}

/// Which values a layer's tensors hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// Those of trained models: weights well below 1.
    Ordinary,
    /// The edges of the format: the largest and smallest scales, subnormal, negative and zero ones, the outermost codes.
    /// For weights whose sums stay finite in f32.
    Extreme,
}

/// One layer to be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// Size of the last dimension of the input.
    pub in_features: i64,
    /// Size of the last dimension of the output.
    pub out_features: i64,
    /// Input features a group, a divisor of `in_features`; or -1 for all of them.
    pub group_size: i64,
    /// Whether the layer has a bias.
    pub bias: bool,
    /// What its tensors hold.
    pub values: Values,
    /// The dtype of the inputs that it will get.
    pub input_kind: Kind,
    /// Chooses the values: two layers of equal cases are equal. libtorch's generator is seeded with it before the fixture
    /// is called, so drawing from it is enough.
    pub seed: i64,
}

impl Case {
    /// The group size with -1 resolved.
    pub fn group(&self) -> i64 {
        if self.group_size == -1 { self.in_features } else { self.group_size }
    }

    /// The number of groups.
    pub fn groups(&self) -> i64 {
        self.in_features / self.group()
    }

    /// The case with values of trained models.
    pub(crate) fn ordinary(self) -> Self {
        Self { values: Values::Ordinary, ..self }
    }

    /// Random normal values times `scale`, f32, of a shape.
    pub fn normal(size: &[i64], scale: f64) -> Tensor {
        Tensor::randn(size, (Kind::Float, Device::Cpu)) * scale
    }
}

/// About how many features a side of the layers of random cases has at most.
const FEATURES: i64 = 144;

impl Shapes {
    /// Random layers of this format for inputs of `kinds`.
    pub(crate) fn cases(&self, kinds: &[Kind]) -> impl Strategy<Value = Case> + use<> {
        let shapes = self.clone();
        let kinds = kinds.to_vec();
        let choice = (any::<u8>(), any::<u8>(), any::<u8>(), any::<u8>());
        (choice, any::<bool>(), any::<bool>(), 0i64..1000).prop_map(
            move |((kind, group, inputs, outputs), bias, extreme, seed)| Case {
                in_features: shapes.input(shapes.group(group), |most| 1 + i64::from(inputs) % most),
                out_features: shapes.out_multiple
                    * (1 + i64::from(outputs) % (FEATURES / shapes.out_multiple).max(1)),
                group_size: shapes.group(group),
                bias,
                values: if extreme { Values::Extreme } else { Values::Ordinary },
                input_kind: kinds[usize::from(kind) % kinds.len()],
                seed,
            },
        )
    }

    /// A layer of about `features` inputs and outputs, in the format's usual groups.
    pub(crate) fn square(&self, features: i64, input_kind: Kind) -> Case {
        let group_size = self.group(0);
        let unit = self.unit(group_size);
        Case {
            in_features: unit * (features / unit).max(1),
            out_features: self.out_multiple * (features / self.out_multiple).max(1),
            group_size,
            bias: true,
            values: Values::Ordinary,
            input_kind,
            seed: 1,
        }
    }

    fn group(&self, choice: u8) -> i64 {
        self.group_sizes[usize::from(choice) % self.group_sizes.len()]
    }

    /// The number that `in_features` is a multiple of.
    fn unit(&self, group_size: i64) -> i64 {
        if group_size == -1 { self.in_multiple } else { least_common_multiple(group_size, self.in_multiple) }
    }

    fn input(&self, group_size: i64, units: impl Fn(i64) -> i64) -> i64 {
        let unit = self.unit(group_size);
        unit * units((FEATURES / unit).max(2))
    }
}

fn least_common_multiple(left: i64, right: i64) -> i64 {
    let (mut divisor, mut rest) = (left, right);
    while rest != 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    left / divisor * right
}
