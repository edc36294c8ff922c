//! The dtype that a model computes in, as flags and files spell it.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tch::Kind;

/// The dtype of activations and of weights that are not packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[value(rename_all = "lower")]
pub(crate) enum Dtype {
    /// 32 bits
    #[value(alias = "f32")]
    #[serde(alias = "f32")]
    Float32,
    /// 16 bits with the range of 32; fastest on CPUs with AVX-512 BF16
    #[value(alias = "bf16")]
    #[serde(alias = "bf16")]
    BFloat16,
    /// 16 bits with a small range
    #[value(alias = "f16", alias = "fp16")]
    #[serde(alias = "f16", alias = "fp16")]
    Float16,
}

impl Dtype {
    /// libtorch's name of it.
    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Float32 => Kind::Float,
            Self::BFloat16 => Kind::BFloat16,
            Self::Float16 => Kind::Half,
        }
    }

    /// Bytes of one number.
    pub(crate) fn bytes(self) -> u64 {
        match self {
            Self::Float32 => 4,
            Self::BFloat16 | Self::Float16 => 2,
        }
    }
}
