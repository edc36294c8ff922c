//! How an adapter's weights start, draw by draw as PEFT makes them.
//!
//! After `tch::manual_seed(s)`, a model injected in tree order holds bit for bit the weights that PEFT makes after
//! `torch.manual_seed(s)`: PyTorch's linear layers draw their own weights when they are constructed, PEFT draws again,
//! and only the last draw is kept. The draws are made in f32 on the CPU and moved to the layer's device afterwards.

use crate::config::InitLoraWeights;
use tch::{Device, Kind, TchError, Tensor};

/// `A [r, in]`, `B [out, r]` and, if asked for, the bias of `B [out]`.
pub(super) struct Weights {
    pub(super) a: Tensor,
    pub(super) b: Tensor,
    pub(super) b_bias: Option<Tensor>,
}

/// The sizes of one adapter.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) in_features: i64,
    pub(super) out_features: i64,
    pub(super) r: i64,
}

/// Draws the weights of one adapter on the CPU, in f32.
pub(super) fn draw(shape: Shape, init: &InitLoraWeights, lora_bias: bool) -> Result<Weights, TchError> {
    let Shape { in_features, out_features, r } = shape;
    let a = linear_weight(r, in_features)?;
    let b = linear_weight(out_features, r)?;
    let b_bias = lora_bias.then(|| linear_bias(out_features, r)).transpose()?;
    let mut weights = Weights { a, b, b_bias };
    redraw(&mut weights, init)?;
    Ok(weights)
}

/// PEFT's `reset_lora_parameters`: `True` and `"gaussian"` draw `A` anew and clear `B`, `False` leaves both.
pub(super) fn redraw(weights: &mut Weights, init: &InitLoraWeights) -> Result<(), TchError> {
    match init {
        InitLoraWeights::False => return Ok(()),
        InitLoraWeights::Gaussian => {
            let r = weights.a.size()[0];
            #[allow(clippy::cast_precision_loss, reason = "a rank is far below 2^53")]
            let std = 1.0 / r as f64;
            let _ = weights.a.f_normal_(0.0, std)?;
        }
        // Names of initialisers that are not implemented do not pass `LoraConfig::validate`.
        _ => {
            let bound = kaiming_bound(weights.a.size()[1]);
            let _ = weights.a.f_uniform_(-bound, bound)?;
        }
    }
    let _ = weights.b.f_zero_()?;
    if let Some(bias) = &mut weights.b_bias {
        let _ = bias.f_zero_()?;
    }
    Ok(())
}

/// The weight of a fresh `torch.nn.Linear`: Kaiming uniform with `a = sqrt(5)`.
fn linear_weight(out_features: i64, in_features: i64) -> Result<Tensor, TchError> {
    let bound = kaiming_bound(in_features);
    Tensor::f_empty([out_features, in_features], (Kind::Float, Device::Cpu))?.f_uniform_(-bound, bound)
}

/// The bias of a fresh `torch.nn.Linear`: uniform in `+-1/sqrt(in_features)`.
#[allow(clippy::cast_precision_loss, reason = "feature counts are far below 2^53")]
fn linear_bias(out_features: i64, in_features: i64) -> Result<Tensor, TchError> {
    let bound = 1.0 / (in_features as f64).sqrt();
    Tensor::f_empty([out_features], (Kind::Float, Device::Cpu))?.f_uniform_(-bound, bound)
}

/// `sqrt(3) * gain / sqrt(fan_in)` with `gain = sqrt(2 / (1 + 5))`, in PyTorch's order of operations: the last bit of the
/// bound shows in every weight.
#[allow(clippy::cast_precision_loss, reason = "feature counts are far below 2^53")]
fn kaiming_bound(fan_in: i64) -> f64 {
    let slope = 5f64.sqrt();
    let gain = (2.0 / (1.0 + slope * slope)).sqrt();
    let std = gain / (fan_in as f64).sqrt();
    3f64.sqrt() * std
}
