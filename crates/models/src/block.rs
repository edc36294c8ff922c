//! One block of the decoder: attention and an MLP, each added to the residual stream `[batch, time, hidden]`.
//!
//! With two norms, `x += attention(norm(x))` and `x += mlp(norm(x))`; with four (Gemma), what is added is normalised, too. The
//! names are the checkpoint's, where `post_attention_layernorm` is the norm before the MLP in the first case and the one
//! after attention in the second.

use crate::ModelError;
use crate::assembly::Assembly;
use crate::attention::{Attention, Surroundings};
use crate::cache::CacheSlot;
use crate::config::{BlockNorms, DecoderConfig};
use crate::mlp::Mlp;
use crate::norm::RmsNorm;
use qtuner_core::ModuleTree;
use tch::Tensor;

/// A block.
#[derive(Debug, ModuleTree)]
pub(crate) struct Block {
    self_attn: Attention,
    mlp: Mlp,
    input_layernorm: RmsNorm,
    post_attention_layernorm: RmsNorm,
    pre_feedforward_layernorm: Option<RmsNorm>,
    post_feedforward_layernorm: Option<RmsNorm>,
}

impl Block {
    pub(crate) fn load(
        assembly: &Assembly<'_>,
        path: &str,
        config: &DecoderConfig,
    ) -> Result<Self, ModelError> {
        let norm =
            |name: &str| RmsNorm::load(assembly, &format!("{path}.{name}"), config.hidden_size, config);
        let of_four = |name: &str| match config.block_norms {
            BlockNorms::Two => Ok(None),
            BlockNorms::Four => norm(name).map(Some),
        };
        Ok(Self {
            self_attn: Attention::load(assembly, &format!("{path}.self_attn"), config)?,
            mlp: Mlp::load(assembly, &format!("{path}.mlp"), config)?,
            input_layernorm: norm("input_layernorm")?,
            post_attention_layernorm: norm("post_attention_layernorm")?,
            pre_feedforward_layernorm: of_four("pre_feedforward_layernorm")?,
            post_feedforward_layernorm: of_four("post_feedforward_layernorm")?,
        })
    }

    pub(crate) fn forward(
        &self,
        x: &Tensor,
        surroundings: &Surroundings,
        cache: Option<CacheSlot<'_>>,
    ) -> Result<Tensor, ModelError> {
        let add = |x: &Tensor, y: &Tensor| x.f_add(y).map_err(ModelError::torch("the residual stream"));
        let attended = self.self_attn.forward(&self.input_layernorm.forward(x)?, surroundings, cache)?;
        let four = self.pre_feedforward_layernorm.as_ref().zip(self.post_feedforward_layernorm.as_ref());
        if let Some((before, after)) = four {
            let x = add(x, &self.post_attention_layernorm.forward(&attended)?)?;
            let inner = self.mlp.forward(&before.forward(&x)?)?;
            return add(&x, &after.forward(&inner)?);
        }
        let x = add(x, &attended)?;
        let inner = self.mlp.forward(&self.post_attention_layernorm.forward(&x)?)?;
        add(&x, &inner)
    }
}
