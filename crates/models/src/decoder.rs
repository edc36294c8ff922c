//! The decoder: embedding, blocks, a last norm. `tokens [batch, time]` -> `[batch, time, hidden]`.

use crate::ModelError;
use crate::assembly::Assembly;
use crate::attention::Surroundings;
use crate::block::Block;
use crate::cache::KeyValueCache;
use crate::config::{DecoderConfig, LayerKind};
use crate::input::{ModelInput, positions};
use crate::mask::{Mask, MaskInput};
use crate::norm::RmsNorm;
use crate::rope::Rope;
use qtuner_core::ModuleTree;
use tch::{Kind, TchError, Tensor};

/// The part of a language model below its head.
#[derive(Debug, ModuleTree)]
pub(crate) struct Decoder {
    embed_tokens: Embedding,
    layers: Vec<Block>,
    norm: RmsNorm,
    #[module(skip)]
    kinds: Vec<KindOfLayers>,
}

/// The token embedding, `weight [vocab, hidden]`.
#[derive(Debug, ModuleTree)]
struct Embedding {
    weight: Tensor,
    #[module(skip)]
    scale: Option<f64>,
}

/// What the layers of one kind share.
#[derive(Debug)]
struct KindOfLayers {
    rope: Rope,
    window: Option<i64>,
    /// Which layers are of it.
    members: Vec<bool>,
}

impl Decoder {
    pub(crate) fn load(assembly: &Assembly<'_>, config: &DecoderConfig) -> Result<Self, ModelError> {
        let weight = "model.embed_tokens.weight";
        let weight = assembly.parameter(weight, &[config.vocab_size, config.hidden_size])?;
        let layer = |index| Block::load(assembly, &format!("model.layers.{index}"), config);
        let kind = |kind: LayerKind| KindOfLayers {
            rope: Rope::new(config.rope_of(kind), config.head_dim),
            window: config.window_of(kind),
            members: config.layers.iter().map(|layer| *layer == kind).collect(),
        };
        Ok(Self {
            embed_tokens: Embedding { weight, scale: config.embedding_scale },
            layers: (0..config.layers.len()).map(layer).collect::<Result<_, _>>()?,
            norm: RmsNorm::load(assembly, "model.norm", config.hidden_size, config)?,
            kinds: [LayerKind::Global, LayerKind::Local].map(kind).into(),
        })
    }

    /// The embedding's weight `[vocab, hidden]`, which a tied head uses, too.
    pub(crate) fn embedding(&self) -> &Tensor {
        &self.embed_tokens.weight
    }

    /// The hidden states of `input`.
    pub(crate) fn forward(&self, input: &ModelInput<'_>) -> Result<Tensor, ModelError> {
        self.run(input.tokens, input.segments, None)
    }

    /// The hidden states of `input`, which follows what `cache` remembers.
    pub(crate) fn forward_cached(
        &self,
        input: &ModelInput<'_>,
        cache: &mut KeyValueCache,
    ) -> Result<Tensor, ModelError> {
        let (batch, time) = input.tokens.size2().map_err(ModelError::torch("the tokens' shape"))?;
        cache.prepare(self.layers.len(), batch)?;
        let (tokens, segments) = cache.followed_by(input)?;
        let length = cache.len() + time;
        let hidden = if !cache.is_empty() && self.kinds.iter().any(|kind| kind.rope.is_stretched(length)) {
            // The angles of all tokens have changed, and with them all that was cached.
            let hidden = self.run(&tokens, segments.as_ref(), None)?;
            hidden.f_narrow(1, length - time, time).map_err(ModelError::torch("the last hidden states"))?
        } else {
            self.run(input.tokens, segments.as_ref(), Some(&mut *cache))?
        };
        cache.advance(tokens, segments, length);
        Ok(hidden)
    }

    /// The hidden states of `tokens [batch, time]`; `segments` are those of the cached tokens and these.
    fn run(
        &self,
        tokens: &Tensor,
        segments: Option<&Tensor>,
        cache: Option<&mut KeyValueCache>,
    ) -> Result<Tensor, ModelError> {
        let (_, time) = tokens.size2().map_err(ModelError::torch("the tokens' shape"))?;
        let keys = time + cache.as_deref().map_or(0, KeyValueCache::len);
        let mut x = self.embed_tokens.forward(tokens).map_err(ModelError::torch("the embedding"))?;
        let mut surroundings: Vec<Option<Surroundings>> = Vec::new();
        for kind in &self.kinds {
            let of_kind = kind.members.contains(&true);
            surroundings.push(of_kind.then(|| kind.surroundings(&x, segments, time, keys)).transpose()?);
        }
        let mut slots = cache.map(KeyValueCache::layers);
        for (index, layer) in self.layers.iter().enumerate() {
            let mut kinds = self.kinds.iter().zip(&surroundings);
            let own = kinds.find_map(|(kind, made)| made.as_ref().filter(|_| kind.members[index]));
            let own = own.expect("every layer is of one of the kinds, whose surroundings were made");
            x = layer.forward(&x, own, slots.as_mut().and_then(Iterator::next))?;
        }
        self.norm.forward(&x)
    }
}

impl Embedding {
    /// Rows of the weight, scaled by the scale rounded to their dtype.
    fn forward(&self, tokens: &Tensor) -> Result<Tensor, TchError> {
        let rows = Tensor::f_embedding(&self.weight, tokens, -1, false, false)?;
        match self.scale {
            None => Ok(rows),
            Some(scale) => {
                let rounded =
                    Tensor::f_from_slice(&[scale])?.f_to_kind(rows.kind())?.f_to_kind(Kind::Double)?;
                rows.f_mul_scalar(rounded.f_double_value(&[0])?)
            }
        }
    }
}

impl KindOfLayers {
    /// Angles and mask for `time` queries, the last of `keys` tokens.
    fn surroundings(
        &self,
        x: &Tensor,
        segments: Option<&Tensor>,
        time: i64,
        keys: i64,
    ) -> Result<Surroundings, ModelError> {
        let kind = x.kind();
        let positions = positions(segments, keys, x)?;
        let mask = Mask::new(MaskInput { queries: time, keys, segments, window: self.window }, x, kind)?;
        let angles = || {
            let new = positions.f_narrow(1, keys - time, time)?;
            let length = positions.f_max()?.f_int64_value(&[])? + 1;
            self.rope.angles(&new, length, kind)
        };
        let angles = angles().map_err(ModelError::torch("the rotary angles"))?;
        Ok(Surroundings { angles, mask })
    }
}
