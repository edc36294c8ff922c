//! Rotary position embeddings: pairs of a head's dimensions, turned by an angle that grows with the position.
//!
//! With `d = head_dim`, `i < d/2`, frequency `f_i = theta^(-2i/d)` (scaled, see [`RopeScaling`]) and position `p`:
//! `y_i = x_i cos(p f_i) - x_{i+d/2} sin(p f_i)`, `y_{i+d/2} = x_{i+d/2} cos(p f_i) + x_i sin(p f_i)`. Angles are f32, as in
//! transformers, whose formulas for the scalings these are; sine and cosine are rounded to the compute dtype.

use crate::config::{RopeConfig, RopeScaling};
use crate::extension;
use std::f64::consts::PI;
use tch::{Kind, TchError, Tensor};

/// The rotation of one kind of layers.
#[derive(Debug)]
pub(crate) struct Rope {
    config: RopeConfig,
    head_dim: i64,
}

/// Sine and cosine of every angle, `[batch or 1, 1, time, head_dim]`, for both halves of a head; the first half's sine is
/// negative.
#[derive(Debug)]
pub(crate) struct Angles {
    cos: Tensor,
    sin: Tensor,
}

impl Rope {
    pub(crate) fn new(config: &RopeConfig, head_dim: i64) -> Self {
        Self { config: config.clone(), head_dim }
    }

    /// Whether the angle of a position is another in a sequence of `length` tokens than in a shorter one.
    pub(crate) fn is_stretched(&self, length: i64) -> bool {
        match self.config.scaling {
            RopeScaling::Dynamic { max_position_embeddings, .. } => length > max_position_embeddings,
            _ => false,
        }
    }

    /// The angles of `positions [batch or 1, time]` in a sequence of `length` tokens.
    pub(crate) fn angles(&self, positions: &Tensor, length: i64, kind: Kind) -> Result<Angles, TchError> {
        let frequencies = Tensor::f_from_slice(&self.frequencies(length))?.f_to_device(positions.device())?;
        let angles =
            positions.f_to_kind(Kind::Float)?.f_unsqueeze(-1)?.f_mul(&frequencies)?.f_unsqueeze(1)?;
        let scaled = |values: Tensor| match self.config.scaling {
            RopeScaling::Yarn { attention_factor, .. } => {
                values.f_mul_scalar(attention_factor)?.f_to_kind(kind)
            }
            _ => values.f_to_kind(kind),
        };
        let (cos, sin) = (scaled(angles.f_cos()?)?, scaled(angles.f_sin()?)?);
        Ok(Angles { cos: Tensor::f_cat(&[&cos, &cos], -1)?, sin: Tensor::f_cat(&[&sin.f_neg()?, &sin], -1)? })
    }

    /// The frequencies `[head_dim / 2]`, in f32 as transformers computes them.
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "f32 is what is wanted")]
    fn frequencies(&self, length: i64) -> Vec<f32> {
        let theta = self.theta(length) as f32;
        let width = self.head_dim as f32;
        let plain = (0..self.head_dim / 2).map(|pair| 1.0 / theta.powf(2.0 * pair as f32 / width));
        match self.config.scaling {
            RopeScaling::None | RopeScaling::Dynamic { .. } => plain.collect(),
            RopeScaling::Linear { factor } => plain.map(|frequency| frequency / factor as f32).collect(),
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            } => {
                let context = original_max_position_embeddings as f64;
                let blend = |frequency: f32| {
                    let turns = context * f64::from(frequency) / (2.0 * PI);
                    let kept =
                        ((turns - low_freq_factor) / (high_freq_factor - low_freq_factor)).clamp(0.0, 1.0);
                    (f64::from(frequency) * ((1.0 - kept) / factor + kept)) as f32
                };
                plain.map(blend).collect()
            }
            RopeScaling::Yarn { factor, .. } => {
                let (low, high) = self.yarn_range();
                let blend = |(pair, frequency): (usize, f32)| {
                    let divided = ((pair as f64 - low) / (high - low)).clamp(0.0, 1.0);
                    (f64::from(frequency) * (divided / factor + (1.0 - divided))) as f32
                };
                plain.enumerate().map(blend).collect()
            }
        }
    }

    /// The base: grown with the length for dynamic scaling.
    #[allow(clippy::cast_precision_loss, reason = "lengths are below 2^31")]
    fn theta(&self, length: i64) -> f64 {
        let RopeScaling::Dynamic { factor, max_position_embeddings } = self.config.scaling else {
            return self.config.theta;
        };
        let context = max_position_embeddings as f64;
        let growth = factor * length.max(max_position_embeddings) as f64 / context - (factor - 1.0);
        let width = self.head_dim as f64;
        self.config.theta * growth.powf(width / (width - 2.0).max(1.0))
    }

    /// Between which pairs of dimensions `YaRN`'s ramp rises.
    #[allow(clippy::cast_precision_loss, reason = "lengths are below 2^31")]
    fn yarn_range(&self) -> (f64, f64) {
        let RopeScaling::Yarn { original_max_position_embeddings, beta_fast, beta_slow, truncate, .. } =
            self.config.scaling
        else {
            return (0.0, 1.0);
        };
        let (width, context) = (self.head_dim as f64, original_max_position_embeddings as f64);
        let pair = |turns: f64| width * (context / (turns * 2.0 * PI)).ln() / (2.0 * self.config.theta.ln());
        let (low, high) = (pair(beta_fast), pair(beta_slow));
        let (low, high) = if truncate { (low.floor(), high.ceil()) } else { (low, high) };
        let (low, high) = (low.max(0.0), high.min(width - 1.0));
        // An empty ramp is a step.
        (low, if high > low { high } else { low + 0.001 })
    }
}

impl Angles {
    /// `x [batch, heads, time, head_dim]`, rotated.
    pub(crate) fn rotate(&self, x: &Tensor) -> Result<Tensor, TchError> {
        if let Some(y) = extension::rotate(x, &self.cos, &self.sin)? {
            return Ok(y);
        }
        let halves = x.f_chunk(2, -1)?;
        let [first, second] = &halves[..] else {
            return Err(TchError::Shape(format!("{:?} has no two halves", x.size())));
        };
        let swapped = Tensor::f_cat(&[second, first], -1)?;
        x.f_mul(&self.cos)?.f_add(&swapped.f_mul(&self.sin)?)
    }
}
