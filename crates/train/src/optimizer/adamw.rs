//! AdamW (Loshchilov and Hutter, 2019), step by step as `torch.optim.AdamW` computes it.
//!
//! ```text
//! p *= 1 - lr * weight_decay
//! m += (g - m) * (1 - beta1)            v = v * beta2 + (1 - beta2) * g * g
//! p -= lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
//! ```
//!
//! A parameter of f16 or bf16 is the rounded copy of one of f32, which is what moves.
//!
//! `tch`'s own optimizers keep their moments to themselves; a run that goes on bit-equal after an interruption needs them.

use super::Parameters;
use super::parameter_state::ParameterState;
use super::parameters::gradient;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tch::TchError;

/// AdamW's numbers but for the learning rate, which the schedule gives.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AdamWOptions {
    /// Decay of the mean of the gradients.
    pub beta1: f64,
    /// Decay of the mean of their squares.
    pub beta2: f64,
    /// What keeps the division finite.
    pub epsilon: f64,
    /// The part of a weight, times the learning rate, that a step takes away.
    pub weight_decay: f64,
}

impl Default for AdamWOptions {
    /// PyTorch's, without decay, as transformers' `Trainer` has it.
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 }
    }
}

/// The optimizer: the parameters it moves and what it remembers of their gradients.
#[derive(Debug)]
pub struct AdamW {
    options: AdamWOptions,
    parameters: Parameters,
    pub(super) states: BTreeMap<String, ParameterState>,
    pub(super) step: u64,
}

impl AdamW {
    /// An optimizer of `parameters` that has seen no gradient yet. From here on, values of f16 and bf16 that others write into
    /// them are lost at the next step.
    ///
    /// # Errors
    /// libtorch's, when memory runs out.
    pub fn new(parameters: Parameters, options: AdamWOptions) -> Result<Self, TchError> {
        let mut states = BTreeMap::new();
        for (name, parameter) in &parameters {
            states.insert(name.clone(), ParameterState::new(parameter)?);
        }
        Ok(Self { options, parameters, states, step: 0 })
    }

    /// The parameters.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// How many steps it has made.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// Clears the gradients.
    pub fn zero_grad(&mut self) {
        for parameter in self.parameters.values_mut() {
            parameter.zero_grad();
        }
    }

    /// Moves every parameter that has a gradient.
    ///
    /// # Errors
    /// libtorch's.
    pub fn step(&mut self, learning_rate: f64) -> Result<(), TchError> {
        self.step_scaled(learning_rate, 1.0)
    }

    /// The same for gradients of a loss that was `scale` times as large: divided by it in f32, in which they are not lost.
    ///
    /// # Errors
    /// libtorch's.
    pub fn step_scaled(&mut self, learning_rate: f64, scale: f64) -> Result<(), TchError> {
        let AdamWOptions { beta1, beta2, epsilon, weight_decay } = self.options;
        let _guard = tch::no_grad_guard();
        self.step += 1;
        let correction1 = 1.0 - power(beta1, self.step);
        let correction2 = (1.0 - power(beta2, self.step)).sqrt();
        for (name, parameter) in &mut self.parameters {
            let (Some(gradient), Some(state)) = (gradient(parameter)?, self.states.get_mut(name)) else {
                continue;
            };
            let ParameterState { exp_avg, exp_avg_sq, master } = state;
            let gradient = gradient.f_to_kind(exp_avg.kind())?.f_multiply_scalar(1.0 / scale)?;
            let value = master.as_mut().unwrap_or(&mut *parameter);
            let _ = value.f_multiply_scalar_(1.0 - learning_rate * weight_decay)?;
            let _ = exp_avg.f_lerp_(&gradient, 1.0 - beta1)?;
            let square = gradient.f_multiply_scalar(1.0 - beta2)?.f_multiply(&gradient)?;
            let _ = exp_avg_sq.f_multiply_scalar_(beta2)?.f_add_(&square)?;
            let denominator = exp_avg_sq.f_sqrt()?.f_divide_scalar(correction2)?.f_add_scalar(epsilon)?;
            let update = exp_avg.f_multiply_scalar(-learning_rate / correction1)?.f_divide(&denominator)?;
            let _ = value.f_add_(&update)?;
            if let Some(master) = master {
                parameter.f_copy_(master)?;
            }
        }
        Ok(())
    }
}

#[allow(clippy::cast_precision_loss, reason = "runs have fewer than 2^53 steps")]
fn power(base: f64, exponent: u64) -> f64 {
    base.powf(exponent as f64)
}
