//! RMS norm: `y = x / sqrt(mean(x^2) + eps)` over the last dimension, times the weight `[width]`.
//!
//! Computed in f32 whatever the dtype. Llama rounds before the weight comes in, Gemma after: see [`NormWeight`].

use crate::ModelError;
use crate::assembly::Assembly;
use crate::config::{DecoderConfig, NormWeight};
use crate::extension;
use qtuner_core::ModuleTree;
use tch::{Kind, TchError, Tensor};

/// An RMS norm.
#[derive(Debug, ModuleTree)]
pub(crate) struct RmsNorm {
    weight: Tensor,
    #[module(skip)]
    style: NormWeight,
    #[module(skip)]
    eps: f64,
}

impl RmsNorm {
    pub(crate) fn load(
        assembly: &Assembly<'_>,
        path: &str,
        width: i64,
        config: &DecoderConfig,
    ) -> Result<Self, ModelError> {
        let weight = assembly.parameter(&format!("{path}.weight"), &[width])?;
        Ok(Self { weight, style: config.norm_weight, eps: config.rms_norm_eps })
    }

    /// `x [..., width]`, normalised, in its dtype.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        self.normalised(x).map_err(ModelError::torch("an RMS norm"))
    }

    fn normalised(&self, x: &Tensor) -> Result<Tensor, TchError> {
        if let Some(y) = extension::rms_norm(x, &self.weight, self.style, self.eps)? {
            return Ok(y);
        }
        let kind = x.kind();
        let wide = x.f_to_kind(Kind::Float)?;
        let mean_square = wide.f_square()?.f_mean_dim(&[-1_i64][..], true, None)?;
        let normalised = wide.f_mul(&mean_square.f_add_scalar(self.eps)?.f_rsqrt()?)?;
        match self.style {
            NormWeight::Plain => normalised.f_to_kind(kind)?.f_mul(&self.weight),
            NormWeight::OnePlus => {
                let weight = self.weight.f_to_kind(Kind::Float)?.f_add_scalar(1.0)?;
                normalised.f_mul(&weight)?.f_to_kind(kind)
            }
        }
    }
}
