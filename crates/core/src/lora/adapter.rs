//! The tensors and numbers of one adapter on one layer.

use super::init::{self, Shape, Weights};
use super::{LoraOptions, Trainability};
use crate::extension::{self, Lora, LowRank};
use tch::{Device, Kind, TchError, Tensor};

/// One adapter on one layer: `A [r, in]`, `B [out, r]`, an optional bias of `B [out]`, and the scaling.
///
/// The tensors are f32 unless they were loaded or converted otherwise, over a base of any dtype.
#[derive(Debug)]
pub struct LoraAdapter {
    pub(super) options: LoraOptions,
    pub(super) scaling: f64,
    pub(super) trainability: Trainability,
    pub(super) lora_a: Tensor,
    pub(super) lora_b: Tensor,
    pub(super) lora_b_bias: Option<Tensor>,
}

impl LoraAdapter {
    /// A fresh adapter for a layer of these sizes, on `device`.
    pub(super) fn fresh(
        options: LoraOptions,
        in_features: i64,
        out_features: i64,
        device: Device,
    ) -> Result<Self, TchError> {
        let shape = Shape { in_features, out_features, r: options.rank };
        let weights = init::draw(shape, &options.init_lora_weights, options.lora_bias)?;
        let place = |tensor: Tensor| tensor.f_to_device(device);
        Ok(Self {
            scaling: options.scaling(),
            trainability: Trainability::Trainable,
            lora_a: place(weights.a)?,
            lora_b: place(weights.b)?,
            lora_b_bias: weights.b_bias.map(place).transpose()?,
            options,
        })
    }

    /// Draws the weights anew, in place, so that an optimizer's handles stay valid.
    pub(super) fn redraw(&mut self, init: &crate::config::InitLoraWeights) -> Result<(), TchError> {
        let _guard = tch::no_grad_guard();
        let mut weights = Weights {
            a: self.lora_a.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?.f_detach_copy()?,
            b: self.lora_b.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?.f_detach_copy()?,
            b_bias: match &self.lora_b_bias {
                Some(bias) => Some(bias.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?.f_detach_copy()?),
                None => None,
            },
        };
        init::redraw(&mut weights, init)?;
        self.lora_a.f_copy_(&weights.a)?;
        self.lora_b.f_copy_(&weights.b)?;
        if let (Some(bias), Some(drawn)) = (&mut self.lora_b_bias, &weights.b_bias) {
            bias.f_copy_(drawn)?;
        }
        Ok(())
    }

    /// `A [r, in_features]`.
    pub fn lora_a(&self) -> &Tensor {
        &self.lora_a
    }

    /// `B [out_features, r]`.
    pub fn lora_b(&self) -> &Tensor {
        &self.lora_b
    }

    /// The bias of `B [out_features]`, with `lora_bias`.
    pub fn lora_b_bias(&self) -> Option<&Tensor> {
        self.lora_b_bias.as_ref()
    }

    /// The factor on `B(A(x))` now.
    pub fn scaling(&self) -> f64 {
        self.scaling
    }

    /// Whether it trains when it is active.
    pub fn trainability(&self) -> Trainability {
        self.trainability
    }

    /// What the adapter was made from.
    pub fn options(&self) -> &LoraOptions {
        &self.options
    }

    /// Every parameter with its PEFT name, `<adapter>` in it: `lora_A.<adapter>.weight`, `lora_B.<adapter>.weight`, ...
    pub(crate) fn parameters(&self, adapter: &str) -> Vec<(String, &Tensor)> {
        let mut parameters = vec![
            (format!("lora_A.{adapter}.weight"), &self.lora_a),
            (format!("lora_B.{adapter}.weight"), &self.lora_b),
        ];
        parameters.extend(self.lora_b_bias.as_ref().map(|bias| (format!("lora_B.{adapter}.bias"), bias)));
        parameters
    }

    /// `A(dropout(cast(x)))`, for [`add_to`](Self::add_to), and `x` as the base is to read it, if not as it is.
    pub(super) fn low_rank(&self, x: &Tensor, dropout: f64) -> Result<LowRank, TchError> {
        if x.device().is_cuda() && extension::autocast_is_enabled() {
            // libtorch chooses the dtypes, as it does under PEFT.
            let low = x.f_dropout(dropout, true)?.f_linear(&self.lora_a, None::<&Tensor>)?;
            return Ok(LowRank { passed: None, low });
        }
        if dropout > 0.0 {
            let x = x.f_to_kind(self.lora_a.kind())?.f_dropout(dropout, true)?;
            return Ok(LowRank { passed: None, ..extension::low_rank(&x, &self.lora_a)? });
        }
        extension::low_rank(x, &self.lora_a)
    }

    /// `y + cast(B(low) * scaling)`, in the dtype of `y`.
    pub(super) fn add_to(&self, y: Tensor, low: &Tensor) -> Result<Tensor, TchError> {
        let (b, bias) = (&self.lora_b, self.lora_b_bias.as_ref());
        if y.device().is_cuda() && extension::autocast_is_enabled() {
            let update = low.f_linear(b, bias)?;
            return y.f_add(&update.f_multiply_scalar(self.scaling)?.f_to_kind(y.kind())?);
        }
        extension::add_lora(y, low, Lora { b, bias, scaling: self.scaling })
    }

    /// The weight delta `scaling * B A` in f32, `[out_features, in_features]`.
    pub(super) fn delta(&self) -> Result<Tensor, TchError> {
        let _guard = tch::no_grad_guard();
        let b = self.lora_b.f_to_kind(Kind::Float)?;
        let a = self.lora_a.f_to_kind(Kind::Float)?;
        b.f_matmul(&a)?.f_multiply_scalar(self.scaling)
    }

    /// The bias delta `scaling * b_B` in f32, `[out_features]`, if `B` has a bias.
    pub(super) fn bias_delta(&self) -> Result<Option<Tensor>, TchError> {
        let _guard = tch::no_grad_guard();
        let scale = |bias: &Tensor| bias.f_to_kind(Kind::Float)?.f_multiply_scalar(self.scaling);
        self.lora_b_bias.as_ref().map(scale).transpose()
    }

    /// A second handle on the same tensors.
    pub(super) fn shallow_clone(&self) -> Self {
        Self {
            options: self.options.clone(),
            scaling: self.scaling,
            trainability: self.trainability,
            lora_a: self.lora_a.shallow_clone(),
            lora_b: self.lora_b.shallow_clone(),
            lora_b_bias: self.lora_b_bias.as_ref().map(Tensor::shallow_clone),
        }
    }
}
