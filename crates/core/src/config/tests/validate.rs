//! What a config may not say.

use serde_json::json;

use super::super::{ConfigError, ConfigProblems, ConfigWarning, InitLoraWeights, LoraConfig};

fn q_proj() -> LoraConfig {
    LoraConfig::new(["q_proj"])
}

fn with_extra(field: &str, value: serde_json::Value) -> LoraConfig {
    let mut config = q_proj();
    config.extra.insert(field.to_owned(), value);
    config
}

#[test]
fn a_string_of_targets_excludes_a_layer_filter() {
    for config in [LoraConfig::new(".*q_proj"), LoraConfig::new("all-linear")] {
        let error = config.clone().with_layers_to_transform(0).validate().unwrap_err();
        assert!(matches!(error, ConfigError::Conflict { field: "layers_to_transform", .. }), "{error}");
        let error = config.with_layers_pattern("layers").validate().unwrap_err();
        assert!(
            error.to_string().contains("layers_pattern cannot be combined with target_modules"),
            "{error}"
        );
    }
}

#[test]
fn a_layers_pattern_needs_layer_numbers() {
    assert_eq!(q_proj().with_layers_pattern("h").validate(), Err(ConfigError::LayersPatternAlone));
    let no_numbers = q_proj().with_layers_pattern("h").with_layers_to_transform([]);
    assert_eq!(no_numbers.validate(), Err(ConfigError::LayersPatternAlone));
    assert_eq!(q_proj().with_layers_pattern("h").with_layers_to_transform(0).validate(), Ok(()));
    assert_eq!(q_proj().with_layers_pattern("").validate(), Ok(()));
}

#[test]
fn lora_bias_needs_a_plain_start_and_no_dora() {
    let mut config = q_proj().with_init_lora_weights("gaussian");
    config.lora_bias = true;
    assert!(matches!(config.validate(), Err(ConfigError::Conflict { field: "lora_bias", .. })));
    config.init_lora_weights = InitLoraWeights::False;
    assert_eq!(config.validate(), Ok(()));
    config.use_dora = true;
    assert!(matches!(config.validate(), Err(ConfigError::Conflict { other: "use_dora", .. })));
}

#[test]
fn numbers_outside_their_range_are_refused() {
    for dropout in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        let error = q_proj().with_lora_dropout(dropout).validate();
        assert!(matches!(error, Err(ConfigError::OutOfRange { field: "lora_dropout", .. })), "{dropout}");
    }
    for dropout in [0.0, 0.5, 1.0] {
        assert_eq!(q_proj().with_lora_dropout(dropout).validate(), Ok(()), "{dropout}");
    }
    let alpha = q_proj().with_lora_alpha(f64::NAN).validate();
    assert!(matches!(alpha, Err(ConfigError::OutOfRange { field: "lora_alpha", .. })));
    let pattern = q_proj().with_alpha_pattern([("q_proj", f64::INFINITY)]).validate();
    assert!(matches!(pattern, Err(ConfigError::OutOfRange { field: "alpha_pattern", .. })));
}

#[test]
fn initialisers_that_are_not_implemented_are_named() {
    for word in ["pissa", "pissa_niter_4", "olora", "loftq", "eva", "corda", "orthogonal", "nonsense"] {
        let error = q_proj().with_init_lora_weights(word).validate().unwrap_err();
        assert!(matches!(error, ConfigError::Unsupported { field: "init_lora_weights", .. }), "{error}");
        assert!(error.to_string().contains(&format!("{word:?}")), "{error}");
        assert!(error.to_string().contains("true, false and \"gaussian\""), "{error}");
    }
}

#[test]
fn fields_that_are_not_implemented_are_refused_when_set() {
    let rows = [
        ("alora_invocation_tokens", json!([1, 2])),
        ("arrow_config", json!({"top_k": 3})),
        ("ensure_weight_tying", json!(true)),
        ("kasa_config", json!({})),
        ("layer_replication", json!([[0, 4], [2, 5]])),
        ("megatron_config", json!({"a": 1})),
        ("monteclora_config", json!({})),
        ("target_parameters", json!(["experts.gate_up_proj"])),
        ("trainable_token_indices", json!([1])),
        ("use_bdlora", json!({"nblocks": 2})),
        ("use_qalora", json!(true)),
        ("velora_config", json!({})),
    ];
    for (field, value) in rows {
        match with_extra(field, value.clone()).validate() {
            Err(ConfigError::Unsupported { field: found, value: text, .. }) => {
                assert_eq!((found, text), (field, value.to_string()));
            }
            other => panic!("{field}: {other:?}"),
        }
        assert_eq!(with_extra(field, json!(null)).validate(), Ok(()), "{field}");
    }
    let mut saved = q_proj();
    saved.modules_to_save = Some(vec!["lm_head".to_owned()]);
    let error = saved.validate().unwrap_err();
    assert!(matches!(error, ConfigError::Unsupported { field: "modules_to_save", .. }), "{error}");
    saved.modules_to_save = Some(vec![]);
    assert_eq!(saved.validate(), Ok(()));
}

#[test]
fn fields_without_effect_are_warnings() {
    for field in ["loftq_config", "eva_config", "corda_config", "lora_ga_config"] {
        let config = with_extra(field, json!({"loftq_bits": 4}));
        assert_eq!(config.validate(), Ok(()), "{field}");
        let warnings = config.warnings();
        assert!(matches!(warnings[..], [ConfigWarning::IgnoredField { field: found, .. }] if found == field));
    }
    assert!(with_extra("qalora_group_size", json!(32)).warnings().is_empty());
    let mut transposed = with_extra("newer", json!(1));
    transposed.fan_in_fan_out = true;
    let shown: Vec<_> = transposed.warnings().iter().map(ToString::to_string).collect();
    assert!(shown[0].starts_with("fan_in_fan_out is set and ignored"), "{shown:?}");
    assert!(shown[1].starts_with("unknown fields newer"), "{shown:?}");
}

#[test]
fn all_problems_are_told_at_once() {
    let config = with_extra("use_qalora", json!(true)).with_lora_dropout(2.0).with_layers_pattern("h");
    match config.validate() {
        Err(ConfigError::Several(ConfigProblems(problems))) => assert_eq!(problems.len(), 3),
        other => panic!("{other:?}"),
    }
    assert!(config.validate().unwrap_err().to_string().starts_with("3 problems:\n- lora_dropout is 2"));
}
