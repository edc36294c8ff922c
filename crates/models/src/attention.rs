//! Attention: every token takes in the values of the tokens before it, weighted by how well query and key match.
//!
//! `x [batch, time, hidden]` -> the same shape. Query heads share key and value heads in groups. Scores are
//! `scale * q k^T`, soft-capped where the config has it, masked, and normalised by a softmax in f32. 64 queries and more are
//! `extension`'s where the CPU has what it takes, everything else is libtorch's operators'.

use crate::ModelError;
use crate::assembly::Assembly;
use crate::cache::CacheSlot;
use crate::config::{DecoderConfig, QueryKeyNorm};
use crate::extension::{self, Attended};
use crate::mask::Mask;
use crate::norm::RmsNorm;
use crate::rope::Angles;
use qtuner_core::{ModuleTree, Slot};
use tch::{Kind, TchError, Tensor};

/// What the layers of one kind share in a forward pass.
#[derive(Debug)]
pub(crate) struct Surroundings {
    /// The angles of the new tokens.
    pub(crate) angles: Angles,
    pub(crate) mask: Mask,
}

/// The attention of a block.
#[derive(Debug, ModuleTree)]
pub(crate) struct Attention {
    q_proj: Slot,
    k_proj: Slot,
    v_proj: Slot,
    o_proj: Slot,
    q_norm: Option<RmsNorm>,
    k_norm: Option<RmsNorm>,
    #[module(skip)]
    heads: Heads,
}

/// How heads are cut out, and how they score.
#[derive(Debug, Clone, Copy)]
struct Heads {
    queries: i64,
    keys: i64,
    width: i64,
    scale: f64,
    softcap: Option<f64>,
}

impl Attention {
    pub(crate) fn load(
        assembly: &Assembly<'_>,
        path: &str,
        config: &DecoderConfig,
    ) -> Result<Self, ModelError> {
        let heads = Heads {
            queries: config.num_attention_heads,
            keys: config.num_key_value_heads,
            width: config.head_dim,
            scale: config.attention_scale,
            softcap: config.attention_softcap,
        };
        let (hidden, biases) = (config.hidden_size, config.biases);
        let projection = |name: &str, heads: i64| {
            let out = heads.saturating_mul(config.head_dim);
            assembly.linear(&format!("{path}.{name}"), hidden, out, biases.query_key_value)
        };
        let norm = |name: &str| match config.query_key_norm {
            QueryKeyNorm::None => Ok(None),
            QueryKeyNorm::PerHead => {
                RmsNorm::load(assembly, &format!("{path}.{name}"), config.head_dim, config).map(Some)
            }
        };
        let joined = heads.queries.saturating_mul(config.head_dim);
        Ok(Self {
            q_proj: projection("q_proj", heads.queries)?,
            k_proj: projection("k_proj", heads.keys)?,
            v_proj: projection("v_proj", heads.keys)?,
            o_proj: assembly.linear(&format!("{path}.o_proj"), joined, hidden, biases.output)?,
            q_norm: norm("q_norm")?,
            k_norm: norm("k_norm")?,
            heads,
        })
    }

    pub(crate) fn forward(
        &self,
        x: &Tensor,
        surroundings: &Surroundings,
        cache: Option<CacheSlot<'_>>,
    ) -> Result<Tensor, ModelError> {
        let torch = |error| ModelError::torch("attention")(error);
        let split = |x: Tensor, heads| self.heads.split(&x, heads).map_err(torch);
        let normed = |norm: &Option<RmsNorm>, x: Tensor| match norm {
            Some(norm) => norm.forward(&x),
            None => Ok(x),
        };
        let query = normed(&self.q_norm, split(self.q_proj.forward(x)?, self.heads.queries)?)?;
        let key = normed(&self.k_norm, split(self.k_proj.forward(x)?, self.heads.keys)?)?;
        let value = split(self.v_proj.forward(x)?, self.heads.keys)?;
        let attended = || {
            let query = surroundings.angles.rotate(&query)?;
            let key = surroundings.angles.rotate(&key)?;
            let (key, value) = match cache {
                Some(mut cache) => cache.append(&key, &value)?,
                None => (key, value),
            };
            self.heads.join(&self.heads.attend(&query, &key, &value, &surroundings.mask)?)
        };
        Ok(self.o_proj.forward(&attended().map_err(torch)?)?)
    }
}

impl Heads {
    /// `[batch, time, heads * width]` -> `[batch, heads, time, width]`.
    fn split(&self, x: &Tensor, heads: i64) -> Result<Tensor, TchError> {
        let (batch, time, _) = x.size3()?;
        x.f_view([batch, time, heads, self.width])?.f_transpose(1, 2)
    }

    /// `[batch, heads, time, width]` -> `[batch, time, heads * width]`.
    fn join(&self, x: &Tensor) -> Result<Tensor, TchError> {
        let (batch, _, time, _) = x.size4()?;
        x.f_transpose(1, 2)?.f_reshape([batch, time, self.queries * self.width])
    }

    fn attend(&self, query: &Tensor, key: &Tensor, value: &Tensor, mask: &Mask) -> Result<Tensor, TchError> {
        let (key, value) = match mask {
            Mask::Last(count) => {
                let first = key.size4()?.2 - count;
                (key.f_narrow(2, first, *count)?, value.f_narrow(2, first, *count)?)
            }
            _ => (key.shallow_clone(), value.shallow_clone()),
        };
        let additive = match mask {
            Mask::Additive(additive) => Some(additive),
            _ => None,
        };
        let (scale, softcap) = (self.scale, self.softcap);
        let attended = Attended { query, key: &key, value: &value, mask: additive, scale, softcap };
        if let Some(attended) = extension::attend(attended)? {
            return Ok(attended);
        }
        if let Some(softcap) = self.softcap {
            return self.attend_capped(query, &key, &value, mask, softcap);
        }
        let is_causal = matches!(mask, Mask::Causal);
        let is_grouped = self.queries != self.keys;
        if is_grouped && query.size4()?.2 == 1 {
            return self.attend_one(query, &key, &value, additive);
        }
        Tensor::f_scaled_dot_product_attention(
            query, &key, &value, additive, 0.0, is_causal, self.scale, is_grouped,
        )
    }

    /// The same for one query of each head, which sees all keys: the queries of a group share these, and so are as good as
    /// tokens of one head. Their products are then of matrices instead of one vector after the other, which tells after some
    /// hundred tokens.
    fn attend_one(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        additive: Option<&Tensor>,
    ) -> Result<Tensor, TchError> {
        let (batch, _, _, width) = query.size4()?;
        let query = query.f_reshape([batch, self.keys, self.queries / self.keys, width])?;
        let attended = Tensor::f_scaled_dot_product_attention(
            &query, key, value, additive, 0.0, false, self.scale, false,
        )?;
        attended.f_reshape([batch, self.queries, 1, width])
    }

    /// The same with `softcap * tanh(scores / softcap)`, which the fused operator does not have.
    fn attend_capped(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        mask: &Mask,
        softcap: f64,
    ) -> Result<Tensor, TchError> {
        let kind = query.kind();
        let group = self.queries / self.keys;
        let key = key.f_repeat_interleave_self_int(group, 1, None)?;
        let value = value.f_repeat_interleave_self_int(group, 1, None)?;
        let scores = query.f_matmul(&key.f_transpose(2, 3)?)?.f_mul_scalar(self.scale)?;
        let scores = scores.f_div_scalar(softcap)?.f_tanh()?.f_mul_scalar(softcap)?;
        let scores = match mask {
            Mask::Last(_) => scores,
            Mask::Additive(additive) => scores.f_add(additive)?,
            Mask::Causal => {
                let (_, _, time, _) = query.size4()?;
                let hidden = Tensor::f_ones([time, time], (Kind::Bool, query.device()))?.f_triu(1)?;
                scores.f_masked_fill(&hidden, f64::NEG_INFINITY)?
            }
        };
        scores.f_softmax(-1, Kind::Float)?.f_to_kind(kind)?.f_matmul(&value)
    }
}
