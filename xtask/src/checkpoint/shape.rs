//! The shapes of known models, and the tensors and the config that AutoAWQ would write for them.

use super::writer::{Fill, Tensor};

/// One model's sizes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    pub(crate) layers: usize,
    pub(crate) hidden: usize,
    pub(crate) intermediate: usize,
    pub(crate) heads: usize,
    pub(crate) key_value_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) vocabulary: usize,
}

/// Inputs that share a scale.
const GROUP: usize = 128;

/// Qwen2's architecture, with biases on q, k and v and a tied head.
pub(crate) const SHAPES: &[Shape] = &[
    Shape {
        name: "qwen2.5-0.5b",
        layers: 24,
        hidden: 896,
        intermediate: 4864,
        heads: 14,
        key_value_heads: 2,
        head_dim: 64,
        vocabulary: 151_936,
    },
    Shape {
        name: "qwen2.5-1.5b",
        layers: 28,
        hidden: 1536,
        intermediate: 8960,
        heads: 12,
        key_value_heads: 2,
        head_dim: 128,
        vocabulary: 151_936,
    },
];

impl Shape {
    /// `config.json`.
    pub(crate) fn config(&self) -> String {
        format!(
            r#"{{
  "architectures": ["Qwen2ForCausalLM"],
  "bos_token_id": 0,
  "eos_token_id": 1,
  "hidden_act": "silu",
  "hidden_size": {},
  "intermediate_size": {},
  "max_position_embeddings": 32768,
  "model_type": "qwen2",
  "num_attention_heads": {},
  "num_hidden_layers": {},
  "num_key_value_heads": {},
  "quantization_config": {{
    "bits": 4, "group_size": {GROUP}, "modules_to_not_convert": null, "quant_method": "awq", "version": "gemm",
    "zero_point": true
  }},
  "rms_norm_eps": 1e-06,
  "rope_theta": 1000000.0,
  "tie_word_embeddings": true,
  "torch_dtype": "float16",
  "vocab_size": {}
}}
"#,
            self.hidden, self.intermediate, self.heads, self.layers, self.key_value_heads, self.vocabulary
        )
    }

    /// Every tensor of the file, in order.
    pub(crate) fn tensors(&self) -> Vec<Tensor> {
        let mut tensors =
            vec![half("model.embed_tokens.weight", &[self.vocabulary, self.hidden], Fill::Small)];
        for layer in 0..self.layers {
            let path = format!("model.layers.{layer}");
            let (queries, keys) = (self.heads * self.head_dim, self.key_value_heads * self.head_dim);
            for (name, input, output) in [
                ("self_attn.q_proj", self.hidden, queries),
                ("self_attn.k_proj", self.hidden, keys),
                ("self_attn.v_proj", self.hidden, keys),
                ("self_attn.o_proj", queries, self.hidden),
                ("mlp.gate_proj", self.hidden, self.intermediate),
                ("mlp.up_proj", self.hidden, self.intermediate),
                ("mlp.down_proj", self.intermediate, self.hidden),
            ] {
                tensors.extend(packed(&format!("{path}.{name}"), input, output));
            }
            for (name, output) in [("q_proj", queries), ("k_proj", keys), ("v_proj", keys)] {
                tensors.push(half(&format!("{path}.self_attn.{name}.bias"), &[output], Fill::Small));
            }
            for name in ["input_layernorm", "post_attention_layernorm"] {
                tensors.push(half(&format!("{path}.{name}.weight"), &[self.hidden], Fill::One));
            }
        }
        tensors.push(half("model.norm.weight", &[self.hidden], Fill::One));
        tensors
    }
}

/// A linear layer in AutoAWQ's GEMM format.
fn packed(path: &str, input: usize, output: usize) -> [Tensor; 3] {
    let tensor = |name: &str, dtype, shape: [usize; 2], fill| Tensor {
        name: format!("{path}.{name}"),
        dtype,
        shape: shape.into(),
        fill,
    };
    [
        tensor("qweight", "I32", [input, output / 8], Fill::Codes),
        tensor("qzeros", "I32", [input / GROUP, output / 8], Fill::Eights),
        tensor("scales", "F16", [input / GROUP, output], Fill::Scale),
    ]
}

fn half(name: &str, shape: &[usize], fill: Fill) -> Tensor {
    Tensor { name: name.to_owned(), dtype: "F16", shape: shape.into(), fill }
}
