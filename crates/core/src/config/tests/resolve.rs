//! Targets fitted to a model: "all-linear", defaults, condensed lists.

use super::super::{
    ConfigError, LoraConfig, ModuleKind, TargetMatcher, TargetModules, default_target_modules,
    minimal_target_modules,
};

fn llama(layers: usize) -> Vec<(String, ModuleKind)> {
    let mut modules = vec![("model.embed_tokens".to_owned(), ModuleKind::Other)];
    for layer in 0..layers {
        for name in ["q_proj", "k_proj", "v_proj", "o_proj"] {
            modules.push((format!("model.layers.{layer}.self_attn.{name}"), ModuleKind::Linear));
        }
        for name in ["gate_proj", "up_proj", "down_proj"] {
            modules.push((format!("model.layers.{layer}.mlp.{name}"), ModuleKind::Linear));
        }
        modules.push((format!("model.layers.{layer}.mlp.act_fn"), ModuleKind::Other));
    }
    modules.push(("lm_head".to_owned(), ModuleKind::Head));
    modules
}

fn names(config: &LoraConfig) -> Vec<&str> {
    match &config.target_modules {
        Some(TargetModules::Names(names)) => names.iter().map(String::as_str).collect(),
        other => panic!("expected names, found {other:?}"),
    }
}

#[test]
fn all_linear_is_every_linear_layer_without_the_head() {
    let long = LoraConfig::new("ALL-Linear").resolve_targets(&llama(4), None).unwrap();
    let suffixes = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"];
    assert_eq!(names(&long), suffixes);
    // Below 20 names the list is not condensed.
    let short = LoraConfig::new("all-linear").resolve_targets(&llama(2), None).unwrap();
    assert_eq!(names(&short).len(), 14);
    assert_eq!(names(&short)[0], "model.layers.0.mlp.down_proj");
}

#[test]
fn all_linear_finds_the_suffixes_of_each_family() {
    let gpt2 = ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"];
    let t5 =
        ["SelfAttention.q", "SelfAttention.k", "SelfAttention.v", "SelfAttention.o", "Dense.wi", "Dense.wo"];
    let neox = ["attention.query_key_value", "attention.dense", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h"];
    let families: [(&[&str], &str, &[&str]); 3] = [
        (&gpt2, "lm_head", &["c_attn", "c_fc", "c_proj"]),
        (&t5, "lm_head", &["k", "o", "q", "v", "wi", "wo"]),
        (&neox, "embed_out", &["dense", "dense_4h_to_h", "dense_h_to_4h", "query_key_value"]),
    ];
    for (layers, head, expected) in families {
        let full = |block: usize| layers.iter().map(move |name| format!("block.{block}.{name}"));
        let mut modules: Vec<_> = (0..6).flat_map(full).map(|name| (name, ModuleKind::Linear)).collect();
        modules.push((head.to_owned(), ModuleKind::Head));
        assert_eq!(names(&LoraConfig::new("all-linear").resolve_targets(&modules, None).unwrap()), expected);
    }
}

#[test]
fn all_linear_has_to_be_resolved_before_it_is_matched() {
    assert_eq!(
        TargetMatcher::new(&LoraConfig::new("all-linear")).unwrap_err(),
        ConfigError::UnresolvedAllLinear
    );
}

#[test]
fn all_linear_refuses_a_name_that_would_adapt_the_head() {
    let modules = [("lm_head", ModuleKind::Linear), ("model.lm_head", ModuleKind::Head)];
    let inseparable =
        ConfigError::InseparableName { name: "lm_head".to_owned(), other: "model.lm_head".to_owned() };
    assert_eq!(LoraConfig::new("all-linear").resolve_targets(&modules, None), Err(inseparable));
}

#[test]
fn absent_targets_are_those_of_the_model_type() {
    let none = LoraConfig::default();
    assert_eq!(names(&none.resolve_targets(&llama(1), Some("llama")).unwrap()), ["q_proj", "v_proj"]);
    let gemma = none.resolve_targets(&llama(1), Some("gemma4")).unwrap();
    assert!(matches!(gemma.target_modules, Some(TargetModules::Regex(_))));
    for model_type in [Some("qwen3_moe"), None] {
        let error = none.resolve_targets(&llama(1), model_type).unwrap_err();
        assert!(matches!(error, ConfigError::NoDefaultTargets { .. }));
    }
}

#[test]
fn default_targets_are_those_of_peft() {
    let rows: [(&[&str], &[&str]); 19] = [
        (&["llama", "llama4", "mistral", "mixtral", "stablelm", "gemma", "gemma2"], &["q_proj", "v_proj"]),
        (&["gemma3_text", "qwen2", "qwen3", "opt", "gptj", "gpt_neo", "bart"], &["q_proj", "v_proj"]),
        (&["nemotron_h"], &["q_proj", "k_proj", "v_proj", "o_proj"]),
        (&["phi"], &["q_proj", "v_proj", "fc1", "fc2"]),
        (&["gpt2", "gpt_bigcode"], &["c_attn"]),
        (&["bloom", "gpt_neox", "chatglm"], &["query_key_value"]),
        (&["falcon", "RefinedWeb", "RefinedWebModel"], &["query_key_value"]),
        (&["t5", "mt5"], &["q", "v"]),
        (&["blip-2"], &["q", "v", "q_proj", "v_proj"]),
        (&["bert", "roberta", "xlm-roberta"], &["query", "value"]),
        (&["electra", "layoutlm"], &["query", "value"]),
        (&["deberta-v2"], &["query_proj", "value_proj"]),
        (&["deberta"], &["in_proj"]),
        (&["mpt"], &["Wqkv"]),
        (&["btlm"], &["c_proj", "c_attn"]),
        (&["codegen"], &["qkv_proj"]),
        (&["rwkv"], &["key", "value", "receptance", "output"]),
        (&["rwkv7"], &["r_proj", "k_proj", "v_proj", "o_proj", "key"]),
        (&["rwkv7"], &["value"]),
    ];
    for (types, expected) in rows {
        for model_type in types {
            let Some(TargetModules::Names(names)) = default_target_modules(model_type) else {
                panic!("{model_type} has no names")
            };
            assert!(expected.iter().all(|name| names.contains(*name)), "{model_type}");
            assert!(names.len() == expected.len() || *model_type == "rwkv7", "{model_type}");
        }
    }
    for absent in
        ["phi3", "gemma3", "qwen2_moe", "qwen2_vl", "deepseek_v3", "cohere", "granite", "olmo", "glm4"]
    {
        assert_eq!(default_target_modules(absent), None, "{absent}");
    }
}

#[test]
fn a_long_list_with_a_layer_filter_is_left_alone() {
    let full: Vec<_> = (0..24).map(|layer| format!("model.layers.{layer}.up_proj")).collect();
    let modules: Vec<_> = full.iter().map(|name| (name, ModuleKind::Linear)).collect();
    let config = LoraConfig::new(full.clone());
    assert_eq!(names(&config.resolve_targets(&modules, None).unwrap()), ["up_proj"]);
    let filtered = config.with_layers_to_transform([0]);
    assert_eq!(filtered.resolve_targets(&modules, None).unwrap(), filtered);
}

#[test]
fn a_minimal_list_tells_overlapping_suffixes_apart() {
    let targets = ["decoder.0.attn.q", "decoder.1.attn.q", "decoder.0.mlp.fc"];
    let others = ["encoder.0.attn.q", "encoder.0.mlp.fc2", "decoder.0.attn.k"];
    let minimal = minimal_target_modules(&targets, &others).unwrap();
    assert_eq!(minimal, ["1.attn.q", "decoder.0.attn.q", "fc"]);
}

#[test]
fn a_minimal_list_refuses_what_names_cannot_separate() {
    let none: [&str; 0] = [];
    assert_eq!(minimal_target_modules(&["a", ""], &none), Err(ConfigError::EmptyName));
    let common = Err(ConfigError::CommonName { name: "a.b".to_owned() });
    assert_eq!(minimal_target_modules(&["a.b"], &["a.b", "c"]), common);
    let inseparable = ConfigError::InseparableName { name: "b".to_owned(), other: "a.b".to_owned() };
    assert_eq!(minimal_target_modules(&["b"], &["a.b"]), Err(inseparable));
    assert_eq!(minimal_target_modules(&none, &["a"]), Ok(vec![]));
}
