//! Inputs of every shape, dtype and layout in memory.

use proptest::prelude::{Just, Strategy, any, prop_oneof};
use tch::{Device, Kind, Tensor};

/// How a tensor lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Row by row.
    Contiguous,
    /// First and last dimension exchanged.
    Transposed,
    /// Every other element of its storage.
    EveryOther,
    /// Behind one other element: aligned to nothing.
    Shifted,
    /// One row for all, stride 0.
    Repeated,
}

impl Layout {
    /// `values` laid out in this way; only [`Layout::Repeated`] changes them, to the first row in all places.
    pub(crate) fn of(self, values: &Tensor) -> Tensor {
        let size = values.size();
        match self {
            Self::Contiguous => values.contiguous(),
            Self::Transposed if size.len() > 1 => values.transpose(0, -1).contiguous().transpose(0, -1),
            Self::EveryOther => Tensor::stack(&[values, values], -1).select(-1, 0),
            Self::Shifted => {
                let flat = values.reshape([-1]);
                let buffer = Tensor::cat(&[Tensor::zeros([1], (values.kind(), values.device())), flat], 0);
                buffer.narrow(0, 1, buffer.size()[0] - 1).view(size.as_slice())
            }
            Self::Repeated if size.len() > 1 && size[0] > 0 => values.narrow(0, 0, 1).expand(&size, false),
            Self::Transposed | Self::Repeated => values.shallow_clone(),
        }
    }
}

pub(crate) fn layouts() -> impl Strategy<Value = Layout> {
    prop_oneof![
        2 => Just(Layout::Contiguous),
        1 => Just(Layout::Transposed),
        1 => Just(Layout::EveryOther),
        1 => Just(Layout::Shifted),
        1 => Just(Layout::Repeated),
    ]
}

/// One input of a layer.
#[derive(Debug, Clone)]
pub(crate) struct Input {
    /// All dimensions but the last.
    pub(crate) leading: Vec<i64>,
    pub(crate) layout: Layout,
    pub(crate) scale: f64,
    pub(crate) seed: i64,
}

impl Input {
    /// `rows` ordinary rows.
    pub(crate) fn rows(rows: i64) -> Self {
        Self { leading: vec![rows], layout: Layout::Contiguous, scale: 1.0, seed: 7 }
    }

    /// The tensor `[..leading, features]`.
    pub(crate) fn draw(&self, features: i64, kind: Kind) -> Tensor {
        tch::manual_seed(self.seed);
        let size: Vec<i64> = self.leading.iter().copied().chain([features]).collect();
        let values = Tensor::randn(&size, (Kind::Float, Device::Cpu)) * self.scale;
        self.layout.of(&values.to_kind(kind))
    }
}

/// Inputs of zero to four leading dimensions, some of them empty.
pub(crate) fn inputs() -> impl Strategy<Value = Input> {
    let leading = prop_oneof![
        1 => Just(vec![]),
        1 => Just(vec![0]),
        1 => Just(vec![2, 0]),
        4 => (1i64..24).prop_map(|rows| vec![rows]),
        1 => (24i64..80).prop_map(|rows| vec![rows]),
        2 => (1i64..4, 1i64..6).prop_map(|(a, b)| vec![a, b]),
        1 => (1i64..3, 1i64..3, 1i64..4).prop_map(|(a, b, c)| vec![a, b, 1, c]),
    ];
    let scale = prop_oneof![2 => Just(1.0), 1 => Just(0.001), 1 => Just(30.0)];
    (leading, layouts(), scale, any::<u16>()).prop_map(|(leading, layout, scale, seed)| Input {
        leading,
        layout,
        scale,
        seed: i64::from(seed),
    })
}

/// Multiples of 1/16 up to 3: their sums and differences are exact in every floating dtype.
pub(crate) fn sixteenths(size: &[i64], kind: Kind) -> Tensor {
    let steps = Tensor::randint_low(-48, 49, size, (Kind::Float, Device::Cpu));
    (steps / 16.0).to_kind(kind)
}
