//! What makes one decoder-only architecture differ from another, as plain data.

use super::RopeConfig;
use tch::Kind;

/// A decoder-only language model's shape and its family's choices.
///
/// There is one decoder for all families; what differs between Llama, Mistral, Qwen and Gemma is here.
#[derive(Debug, Clone, PartialEq)]
pub struct DecoderConfig {
    /// The family, as `config.json` spells it.
    pub model_type: String,
    /// Number of tokens.
    pub vocab_size: i64,
    /// Width of the residual stream.
    pub hidden_size: i64,
    /// Width inside of an MLP.
    pub intermediate_size: i64,
    /// Number of query heads.
    pub num_attention_heads: i64,
    /// Number of key and value heads; each serves `num_attention_heads / num_key_value_heads` query heads.
    pub num_key_value_heads: i64,
    /// Width of a head.
    pub head_dim: i64,
    /// The longest context that the config vouches for.
    pub max_position_embeddings: i64,
    /// Added to the mean square in every norm.
    pub rms_norm_eps: f64,
    /// How a norm's weight enters.
    pub norm_weight: NormWeight,
    /// The norms of a block.
    pub block_norms: BlockNorms,
    /// Norms on queries and keys.
    pub query_key_norm: QueryKeyNorm,
    /// The linears that must have a bias.
    pub biases: Biases,
    /// The MLP's activation.
    pub activation: Activation,
    /// What attention scores are multiplied with.
    pub attention_scale: f64,
    /// Attention scores `s` become `c tanh(s / c)`.
    pub attention_softcap: Option<f64>,
    /// Logits `l` become `c tanh(l / c)`.
    pub logit_softcap: Option<f64>,
    /// What embeddings are multiplied with, rounded to the compute dtype first.
    pub embedding_scale: Option<f64>,
    /// The blocks, in order.
    pub layers: Vec<LayerKind>,
    /// Keys that a local layer's query sees: itself and the ones before it.
    pub sliding_window: Option<i64>,
    /// The rotation in global layers.
    pub rope: RopeConfig,
    /// The rotation in local layers.
    pub local_rope: RopeConfig,
    /// Where the output head's weight is.
    pub head: Head,
    /// Tokens that end a text.
    pub eos_token_ids: Vec<i64>,
    /// The token that begins a text.
    pub bos_token_id: Option<i64>,
    /// The dtype that the checkpoint says it is for.
    pub checkpoint_kind: Option<Kind>,
}

/// Whether a layer looks back over the whole context or over a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerKind {
    /// Over the whole context.
    Global,
    /// Over the last [`sliding_window`](DecoderConfig::sliding_window) tokens.
    Local,
}

/// How the weight `w` of an RMS norm enters: `x / rms(x)` times what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormWeight {
    /// `w`, after the normalised value was rounded to the compute dtype (Llama).
    Plain,
    /// `1 + w`, in f32 (Gemma).
    OnePlus,
}

/// Which norms a block has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockNorms {
    /// Before attention and before the MLP.
    Two,
    /// Before and after each (Gemma).
    Four,
}

/// Whether queries and keys are normalised, each head for itself, before they are rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryKeyNorm {
    /// They are not.
    None,
    /// They are (Qwen3, Gemma 3).
    PerHead,
}

/// Whether linears have a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bias {
    /// They need none; one that the checkpoint has is used.
    Optional,
    /// They must have one.
    Required,
}

/// Which linears must have a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Biases {
    /// `q_proj`, `k_proj`, `v_proj`.
    pub query_key_value: Bias,
    /// `o_proj`.
    pub output: Bias,
    /// `gate_proj`, `up_proj`, `down_proj`.
    pub mlp: Bias,
}

/// The activation of an MLP's gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x sigmoid(x)`.
    Silu,
    /// `x Phi(x)`.
    Gelu,
    /// Its approximation by a hyperbolic tangent.
    GeluTanh,
}

/// Where the output head's weight is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// It is the embedding.
    Tied,
    /// It is a layer of its own, `lm_head`.
    Own,
}
