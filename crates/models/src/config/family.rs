//! From `config.json` to a [`DecoderConfig`]: what each family reads, and its defaults in transformers.

use super::fields::Fields;
use super::{
    Activation, Bias, Biases, BlockNorms, DecoderConfig, Head, LayerKind, NormWeight, QueryKeyNorm, rope_keys,
};
use crate::ModelError;
use tch::Kind;

/// More blocks than any model has: a guard for the list that is made of them.
const MAX_LAYERS: i64 = 4096;

/// The `sliding_window` of a config without the key, in every family that has one.
const DEFAULT_WINDOW: i64 = 4096;

/// A built-in architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Llama,
    Mistral,
    Qwen2,
    Qwen3,
    Gemma3,
}

const FAMILIES: [(&str, Family); 5] = [
    ("llama", Family::Llama),
    ("mistral", Family::Mistral),
    ("qwen2", Family::Qwen2),
    ("qwen3", Family::Qwen3),
    ("gemma3_text", Family::Gemma3),
];

impl Family {
    fn of(config: &Fields<'_>) -> Result<Self, ModelError> {
        let model_type = config.string("model_type")?;
        let known = FAMILIES.iter().find(|(name, _)| *name == model_type);
        known.map(|(_, family)| *family).ok_or_else(|| ModelError::UnknownModelType {
            path: config.path(),
            found: model_type.to_owned(),
            supported: FAMILIES.iter().map(|(name, _)| *name).collect(),
        })
    }
}

/// Reads the whole config.
pub(super) fn read(config: &Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let family = Family::of(config)?;
    let is_gemma = family == Family::Gemma3;
    let hidden_size = config.size("hidden_size")?;
    let num_attention_heads = config.size("num_attention_heads")?;
    let num_key_value_heads = config.optional_size("num_key_value_heads")?.unwrap_or(num_attention_heads);
    if num_attention_heads % num_key_value_heads != 0 {
        return Err(config.refuse("num_key_value_heads", format!("a divisor of {num_attention_heads} heads")));
    }
    let head_dim = head_dim(config, hidden_size, num_attention_heads)?;
    let sliding_window = sliding_window(config, family)?;
    let (rope, local_rope) = if is_gemma {
        rope_keys::of_kinds(config)?
    } else {
        let rope = rope_keys::of_model(config)?;
        (rope.clone(), rope)
    };
    Ok(DecoderConfig {
        model_type: config.string("model_type")?.to_owned(),
        vocab_size: config.size("vocab_size")?,
        hidden_size,
        intermediate_size: config.size("intermediate_size")?,
        num_attention_heads,
        num_key_value_heads,
        head_dim,
        max_position_embeddings: config.size("max_position_embeddings")?,
        rms_norm_eps: config.optional_positive("rms_norm_eps")?.unwrap_or(1e-6),
        norm_weight: if is_gemma { NormWeight::OnePlus } else { NormWeight::Plain },
        block_norms: if is_gemma { BlockNorms::Four } else { BlockNorms::Two },
        query_key_norm: if is_gemma || family == Family::Qwen3 {
            QueryKeyNorm::PerHead
        } else {
            QueryKeyNorm::None
        },
        biases: biases(config, family)?,
        activation: activation(config, family)?,
        attention_scale: attention_scale(config, family, head_dim)?,
        attention_softcap: if is_gemma { config.optional_positive("attn_logit_softcapping")? } else { None },
        logit_softcap: if is_gemma { config.optional_positive("final_logit_softcapping")? } else { None },
        #[allow(clippy::cast_precision_loss, reason = "sizes are below 2^31")]
        embedding_scale: is_gemma.then(|| (hidden_size as f64).sqrt()),
        layers: layers(config, family, sliding_window)?,
        sliding_window,
        rope,
        local_rope,
        head: head(config, family)?,
        eos_token_ids: config.token_ids("eos_token_id")?,
        bos_token_id: config.token_ids("bos_token_id")?.first().copied(),
        checkpoint_kind: checkpoint_kind(config)?,
    })
}

fn head_dim(config: &Fields<'_>, hidden_size: i64, heads: i64) -> Result<i64, ModelError> {
    let head_dim = match config.optional_size("head_dim")? {
        Some(head_dim) => head_dim,
        None if hidden_size % heads == 0 => hidden_size / heads,
        None => {
            return Err(
                config.refuse("head_dim", format!("a size, for {heads} heads do not divide hidden_size"))
            );
        }
    };
    if head_dim % 2 == 0 {
        Ok(head_dim)
    } else {
        Err(config.refuse("head_dim", "an even size, to be rotated"))
    }
}

/// The window, if the family has one and the config uses it. A missing key is not what `null` is: it means
/// [`DEFAULT_WINDOW`], `null` means none.
fn sliding_window(config: &Fields<'_>, family: Family) -> Result<Option<i64>, ModelError> {
    let used = match family {
        Family::Llama => false,
        Family::Mistral | Family::Gemma3 => true,
        Family::Qwen2 | Family::Qwen3 => config.optional_flag("use_sliding_window")?.unwrap_or(false),
    };
    if family == Family::Gemma3 && config.optional_flag("use_bidirectional_attention")?.unwrap_or(false) {
        return Err(config.refuse("use_bidirectional_attention", "false, for a causal model"));
    }
    if !used {
        return Ok(None);
    }
    match config.optional_size("sliding_window")? {
        None if !config.has("sliding_window") => Ok(Some(DEFAULT_WINDOW)),
        None if family == Family::Gemma3 => {
            Err(config.refuse("sliding_window", "a size, for this family has local layers"))
        }
        window => Ok(window),
    }
}

/// The kinds of the blocks: by `layer_types` where the config has it, else by the family's rule.
fn layers(config: &Fields<'_>, family: Family, window: Option<i64>) -> Result<Vec<LayerKind>, ModelError> {
    let count = config.size("num_hidden_layers")?;
    if count > MAX_LAYERS {
        return Err(config.refuse("num_hidden_layers", format!("at most {MAX_LAYERS}")));
    }
    if window.is_none() {
        return Ok((0..count).map(|_| LayerKind::Global).collect());
    }
    if let Some(types) = config.optional_strings("layer_types")? {
        let kinds: Option<Vec<LayerKind>> = types.into_iter().map(layer_kind).collect();
        return kinds.filter(|kinds| i64::try_from(kinds.len()) == Ok(count)).ok_or_else(|| {
            config.refuse("layer_types", format!("{count} of \"full_attention\" and \"sliding_attention\""))
        });
    }
    let first_local = match family {
        Family::Qwen2 | Family::Qwen3 => config.optional_count("max_window_layers")?.unwrap_or(28),
        _ => 0,
    };
    let pattern = match family {
        Family::Gemma3 => config.optional_size("sliding_window_pattern")?.unwrap_or(6),
        _ => i64::MAX,
    };
    let is_global = |layer: i64| layer < first_local || (layer + 1) % pattern == 0;
    Ok((0..count).map(|layer| if is_global(layer) { LayerKind::Global } else { LayerKind::Local }).collect())
}

fn layer_kind(name: &str) -> Option<LayerKind> {
    match name {
        "full_attention" => Some(LayerKind::Global),
        "sliding_attention" => Some(LayerKind::Local),
        _ => None,
    }
}

fn biases(config: &Fields<'_>, family: Family) -> Result<Biases, ModelError> {
    let flag = |key| {
        let required = config.optional_flag(key)?.unwrap_or(false);
        Ok::<_, ModelError>(if required { Bias::Required } else { Bias::Optional })
    };
    let attention = flag("attention_bias")?;
    Ok(match family {
        Family::Llama => Biases { query_key_value: attention, output: attention, mlp: flag("mlp_bias")? },
        Family::Qwen2 => {
            Biases { query_key_value: Bias::Required, output: Bias::Optional, mlp: Bias::Optional }
        }
        Family::Mistral | Family::Qwen3 | Family::Gemma3 => {
            Biases { query_key_value: attention, output: attention, mlp: Bias::Optional }
        }
    })
}

fn activation(config: &Fields<'_>, family: Family) -> Result<Activation, ModelError> {
    let (key, default) = match family {
        Family::Gemma3 => ("hidden_activation", Activation::GeluTanh),
        _ => ("hidden_act", Activation::Silu),
    };
    match config.optional_string(key)? {
        None => Ok(default),
        Some("silu" | "swish") => Ok(Activation::Silu),
        Some("gelu") => Ok(Activation::Gelu),
        Some("gelu_pytorch_tanh" | "gelu_new") => Ok(Activation::GeluTanh),
        Some(_) => Err(config.refuse(key, "silu, gelu or gelu_pytorch_tanh")),
    }
}

#[allow(clippy::cast_precision_loss, reason = "sizes are below 2^31")]
fn attention_scale(config: &Fields<'_>, family: Family, head_dim: i64) -> Result<f64, ModelError> {
    let width = match family {
        Family::Gemma3 => config.optional_positive("query_pre_attn_scalar")?.unwrap_or(256.0),
        _ => head_dim as f64,
    };
    Ok(width.powf(-0.5))
}

fn head(config: &Fields<'_>, family: Family) -> Result<Head, ModelError> {
    let tied = config.optional_flag("tie_word_embeddings")?.unwrap_or(family == Family::Gemma3);
    Ok(if tied { Head::Tied } else { Head::Own })
}

fn checkpoint_kind(config: &Fields<'_>) -> Result<Option<Kind>, ModelError> {
    let key = if config.value("dtype").is_some() { "dtype" } else { "torch_dtype" };
    Ok(match config.optional_string(key)? {
        Some("float16") => Some(Kind::Half),
        Some("bfloat16") => Some(Kind::BFloat16),
        Some("float32") => Some(Kind::Float),
        _ => None,
    })
}
