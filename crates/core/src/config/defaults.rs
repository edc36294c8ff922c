//! PEFT's default targets by the model type of a Hugging Face `config.json`.

use super::targets::TargetModules;

const QUERY_VALUE: &[&str] = &["q_proj", "v_proj"];

const NAMES: &[(&[&str], &[&str])] = &[
    (
        &[
            "bart",
            "gemma",
            "gemma2",
            "gemma3_text",
            "gpt_neo",
            "gptj",
            "llama",
            "llama4",
            "mistral",
            "mixtral",
            "opt",
            "qwen2",
            "qwen3",
            "stablelm",
        ],
        QUERY_VALUE,
    ),
    (&["nemotron_h"], &["q_proj", "k_proj", "v_proj", "o_proj"]),
    (&["phi"], &["q_proj", "v_proj", "fc1", "fc2"]),
    (&["gpt2", "gpt_bigcode"], &["c_attn"]),
    (&["RefinedWeb", "RefinedWebModel", "bloom", "chatglm", "falcon", "gpt_neox"], &["query_key_value"]),
    (&["t5", "mt5"], &["q", "v"]),
    (&["blip-2"], &["q", "v", "q_proj", "v_proj"]),
    (&["bert", "electra", "layoutlm", "roberta", "xlm-roberta"], &["query", "value"]),
    (&["deberta-v2"], &["query_proj", "value_proj"]),
    (&["deberta"], &["in_proj"]),
    (&["mpt"], &["Wqkv"]),
    (&["btlm"], &["c_proj", "c_attn"]),
    (&["codegen"], &["qkv_proj"]),
    (&["rwkv"], &["key", "value", "receptance", "output"]),
    (&["rwkv7"], &["r_proj", "k_proj", "v_proj", "o_proj", "key", "value"]),
];

/// Gemma 4 has a vision tower with the same names, which stays out.
const GEMMA4: &str = r".*language_model\..*\.(q_proj|v_proj)";

/// The targets that PEFT takes for a model type when the config names none; `None` for a type that PEFT's
/// table does not have.
///
/// ```
/// use qtuner_core::{TargetModules, default_target_modules};
///
/// assert_eq!(default_target_modules("llama"), Some(TargetModules::from(["q_proj", "v_proj"])));
/// assert_eq!(default_target_modules("phi3"), None);
/// ```
pub fn default_target_modules(model_type: &str) -> Option<TargetModules> {
    if model_type == "gemma4" {
        return Some(TargetModules::from(GEMMA4));
    }
    NAMES.iter().find(|(types, _)| types.contains(&model_type)).map(|(_, names)| TargetModules::from(*names))
}
