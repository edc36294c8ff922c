//! The gated MLP: `down(activation(gate(x)) * up(x))`, `[..., hidden]` -> `[..., hidden]`.

use crate::ModelError;
use crate::assembly::Assembly;
use crate::config::{Activation, DecoderConfig};
use crate::extension;
use qtuner_core::{ModuleTree, Slot};
use tch::{TchError, Tensor};

/// The MLP of a block.
#[derive(Debug, ModuleTree)]
pub(crate) struct Mlp {
    gate_proj: Slot,
    up_proj: Slot,
    down_proj: Slot,
    #[module(skip)]
    activation: Activation,
}

impl Mlp {
    pub(crate) fn load(
        assembly: &Assembly<'_>,
        path: &str,
        config: &DecoderConfig,
    ) -> Result<Self, ModelError> {
        let (hidden, inner, bias) = (config.hidden_size, config.intermediate_size, config.biases.mlp);
        let linear = |name: &str, input, out| assembly.linear(&format!("{path}.{name}"), input, out, bias);
        Ok(Self {
            gate_proj: linear("gate_proj", hidden, inner)?,
            up_proj: linear("up_proj", hidden, inner)?,
            down_proj: linear("down_proj", inner, hidden)?,
            activation: config.activation,
        })
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        let (gate, up) = (self.gate_proj.forward(x)?, self.up_proj.forward(x)?);
        let inner = self.gated(&gate, &up).map_err(ModelError::torch("the MLP's gate"))?;
        Ok(self.down_proj.forward(&inner)?)
    }

    /// `activation(gate) * up`
    fn gated(&self, gate: &Tensor, up: &Tensor) -> Result<Tensor, TchError> {
        let activated = match self.activation {
            Activation::Silu => match extension::silu_gate(gate, up)? {
                Some(gated) => return Ok(gated),
                None => gate.f_silu()?,
            },
            Activation::Gelu => gate.f_gelu("none")?,
            Activation::GeluTanh => gate.f_gelu("tanh")?,
        };
        activated.f_mul(up)
    }
}
