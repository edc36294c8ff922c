//! `adapter_config.json`, read and written.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::{
    Bias, ConfigError, InitLoraWeights, LayerIndices, LoraAlpha, LoraConfig, PEFT_VERSION, PatternMap,
    TargetModules, TaskType,
};

/// A config as PEFT 0.15 saved it, for a Llama with AWQ layers.
const FROM_PEFT: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/llama-awq-adapter/adapter_config.json");

/// The file of a new q/v adapter as the newest PEFT writes it.
const NEWEST: &str = r#"{
  "alora_invocation_tokens": null,
  "alpha_pattern": {},
  "arrow_config": null,
  "auto_mapping": null,
  "base_model_name_or_path": "org/model",
  "bias": "none",
  "corda_config": null,
  "ensure_weight_tying": false,
  "eva_config": null,
  "exclude_modules": null,
  "fan_in_fan_out": false,
  "inference_mode": true,
  "init_lora_weights": true,
  "layer_replication": null,
  "layers_pattern": null,
  "layers_to_transform": null,
  "loftq_config": {},
  "lora_alpha": 16,
  "lora_bias": false,
  "lora_dropout": 0.05,
  "lora_ga_config": null,
  "megatron_config": null,
  "megatron_core": "megatron.core",
  "modules_to_save": null,
  "monteclora_config": null,
  "peft_type": "LORA",
  "peft_version": "0.20.0",
  "qalora_group_size": 16,
  "r": 16,
  "rank_pattern": {},
  "revision": null,
  "target_modules": [
    "q_proj",
    "v_proj"
  ],
  "target_parameters": null,
  "task_type": "CAUSAL_LM",
  "trainable_token_indices": null,
  "use_bdlora": null,
  "use_dora": false,
  "use_qalora": false,
  "use_rslora": false,
  "velora_config": null
}"#;

/// A file with `peft_type` and one more field.
fn with(field: &str, value: &Value) -> Result<LoraConfig, ConfigError> {
    LoraConfig::from_json(&json!({"peft_type": "LORA", field: value}).to_string())
}

#[test]
fn a_new_config_is_written_byte_for_byte_as_peft_writes_it() {
    let config = LoraConfig::new(["q_proj", "v_proj"])
        .with_rank(16)
        .with_lora_alpha(16)
        .with_lora_dropout(0.05)
        .with_task_type(TaskType::CausalLm)
        .with_base_model("org/model");
    assert_eq!(config.to_json().unwrap(), NEWEST);
    assert_eq!(LoraConfig::from_json(NEWEST).unwrap().to_json().unwrap(), NEWEST);
}

#[test]
fn a_file_of_peft_keeps_every_key_and_value() {
    let text = std::fs::read_to_string(FROM_PEFT).unwrap();
    let config = LoraConfig::from_json(&text).unwrap();
    assert_eq!(config.validate(), Ok(()));
    assert_eq!(config.warnings(), []);
    assert_eq!((config.rank, config.lora_alpha), (4, LoraAlpha::Integer(8)));

    let before: BTreeMap<String, Value> = serde_json::from_str(&text).unwrap();
    let mut after: BTreeMap<String, Value> = serde_json::from_str(&config.to_json().unwrap()).unwrap();
    let newest: BTreeMap<String, Value> = serde_json::from_str(NEWEST).unwrap();
    for (key, value) in &before {
        let found = after.remove(key).unwrap_or_else(|| panic!("{key} is gone"));
        match key.as_str() {
            "target_modules" => assert_eq!(sorted(&found), sorted(value)),
            _ => assert_eq!(found, *value, "{key}"),
        }
    }
    // The keys that PEFT has gained since are there with their defaults.
    for (key, value) in &after {
        assert_eq!(newest.get(key), Some(value), "{key}");
        assert!(!before.contains_key(key));
    }
    assert_eq!(before.len() + after.len(), newest.len());
}

fn sorted(list: &Value) -> Vec<&str> {
    let mut items: Vec<_> = list.as_array().unwrap().iter().map(|item| item.as_str().unwrap()).collect();
    items.sort_unstable();
    items
}

#[test]
fn missing_fields_have_their_defaults() {
    assert_eq!(LoraConfig::from_json(r#"{"peft_type": "LORA"}"#).unwrap(), LoraConfig::default());
    let null_version = with("peft_version", &Value::Null).unwrap();
    assert_eq!(null_version.peft_version, PEFT_VERSION);
    assert_eq!(with("peft_version", &json!("0.12.0@abc")).unwrap().peft_version, "0.12.0@abc");
}

#[test]
fn each_field_reads_every_form_that_peft_writes() {
    assert_eq!(
        with("target_modules", &json!("all-linear")).unwrap().target_modules,
        Some(TargetModules::AllLinear)
    );
    assert_eq!(
        with("target_modules", &json!(["b", "a", "b"])).unwrap().target_modules,
        Some(["a", "b"].into())
    );
    assert_eq!(with("exclude_modules", &json!(".*")).unwrap().exclude_modules, Some(".*".into()));
    assert_eq!(with("layers_to_transform", &json!(0)).unwrap().layers_to_transform, Some(0.into()));
    assert_eq!(with("layers_to_transform", &json!([1, 2])).unwrap().layers_to_transform, Some([1, 2].into()));
    assert_eq!(with("layers_pattern", &json!(["h"])).unwrap().layers_pattern, Some(["h"].into()));
    assert_eq!(with("lora_alpha", &json!(0.5)).unwrap().lora_alpha, LoraAlpha::Float(0.5));
    assert_eq!(with("bias", &json!("lora_only")).unwrap().bias, Bias::LoraOnly);
    assert_eq!(
        with("init_lora_weights", &json!("GAUSSIAN")).unwrap().init_lora_weights,
        InitLoraWeights::Gaussian
    );
    assert_eq!(with("init_lora_weights", &json!(false)).unwrap().init_lora_weights, InitLoraWeights::False);
    assert!(!with("fan_in_fan_out", &Value::Null).unwrap().fan_in_fan_out);
    assert!(with("rank_pattern", &Value::Null).unwrap().rank_pattern.is_empty());
}

#[test]
fn patterns_keep_the_order_of_the_file() {
    let text = r#"{"peft_type": "LORA", "rank_pattern": {"z": 1, "a": 2, "m": 3}, "alpha_pattern": {"b": 1.5, "a": 2}}"#;
    let config = LoraConfig::from_json(text).unwrap();
    assert_eq!(config.rank_pattern, PatternMap::from([("z", 1), ("a", 2), ("m", 3)]));
    assert_eq!(LoraConfig::from_json(&config.to_json().unwrap()).unwrap().rank_pattern, config.rank_pattern);
    assert_eq!(
        LoraConfig::from_json(&config.to_json().unwrap()).unwrap().alpha_pattern,
        config.alpha_pattern
    );
}

#[test]
fn a_value_of_the_wrong_kind_is_named_with_what_was_expected() {
    let rows = [
        ("r", json!("8"), "r is the string \"8\", expected an integer"),
        ("r", json!(8.5), "r is the number 8.5, expected an integer"),
        ("r", json!(null), "r is null, expected an integer"),
        ("lora_dropout", json!(true), "lora_dropout is the boolean true, expected a number"),
        ("bias", json!("some"), "bias is the string \"some\", expected \"none\", \"all\" or \"lora_only\""),
        ("use_dora", json!(1), "use_dora is the number 1, expected true or false"),
        (
            "target_modules",
            json!([1]),
            "target_modules is the list [1], expected a list of strings, a string or null",
        ),
        (
            "modules_to_save",
            json!("a"),
            "modules_to_save is the string \"a\", expected a list of strings or null",
        ),
        ("layers_to_transform", json!([1.5]), "layers_to_transform is the list [1.5], expected an integer"),
        ("rank_pattern", json!({"a": 1.5}), "rank_pattern is the object {\"a\":1.5}, expected an object"),
        ("task_type", json!("CHAT"), "task_type is the string \"CHAT\", expected \"SEQ_CLS\""),
        ("init_lora_weights", json!(3), "init_lora_weights is the number 3, expected true, false or"),
    ];
    for (field, value, message) in rows {
        let error = with(field, &value).unwrap_err();
        assert!(
            matches!(&error, ConfigError::InvalidField { field: found, .. } if *found == field),
            "{error:?}"
        );
        assert!(error.to_string().starts_with(message), "{error}");
    }
    let long = with("bias", &json!("é".repeat(200))).unwrap_err().to_string();
    assert!(long.chars().count() < 160, "{long}");
}

#[test]
fn a_file_that_is_no_lora_config_is_refused() {
    assert_eq!(LoraConfig::from_json("{}"), Err(ConfigError::MissingPeftType));
    let other = LoraConfig::from_json(r#"{"peft_type": "IA3"}"#).unwrap_err();
    assert_eq!(other, ConfigError::OtherPeftType { found: "the string \"IA3\"".to_owned() });
    assert!(matches!(LoraConfig::from_json("[]"), Err(ConfigError::NotAnObject { .. })));
    let cut = LoraConfig::from_json("{\n  \"r\": 8,").unwrap_err();
    assert!(cut.to_string().contains("line 2"), "{cut}");
    for token in ["NaN", "Infinity", "-Infinity"] {
        let text = format!("{{\"peft_type\": \"LORA\",\n\"lora_alpha\": {token}}}");
        let error = LoraConfig::from_json(&text).unwrap_err().to_string();
        assert!(error.contains("NaN and Infinity"), "{error}");
    }
}

#[test]
fn a_byte_order_mark_is_passed_over() {
    assert!(LoraConfig::from_json("\u{feff}{\"peft_type\": \"LORA\"}").is_ok());
}

#[test]
fn unknown_fields_are_kept_and_named() {
    let text = r#"{"peft_type": "LORA", "newer": {"b": [1, {"y": 2, "x": 1}], "a": 1e-7}, "runtime_config": {}, "use_qalora": true}"#;
    let config = LoraConfig::from_json(text).unwrap();
    assert_eq!(config.unknown_fields().collect::<Vec<_>>(), ["newer"]);
    let saved = config.to_json().unwrap();
    let expected = "  \"newer\": {\n    \"a\": 1e-07,\n    \"b\": [\n      1,\n      {\n        \"x\": 1,\n        \"y\": 2\n      }\n    ]\n  },\n";
    assert!(saved.contains(expected), "{saved}");
    assert!(saved.contains("\"use_qalora\": true"));
    assert!(!saved.contains("runtime_config"));
    assert_eq!(LoraConfig::from_json(&saved).unwrap().extra, config.extra);
}

#[test]
fn inference_mode_is_saved_as_true() {
    assert!(!LoraConfig::default().inference_mode);
    assert!(LoraConfig::from_json(&LoraConfig::default().to_json().unwrap()).unwrap().inference_mode);
}

#[test]
fn layer_zero_beside_a_layers_pattern_is_saved_as_a_list() {
    let config = LoraConfig::new(["q"]).with_layers_to_transform(0).with_layers_pattern("h");
    let saved = LoraConfig::from_json(&config.to_json().unwrap()).unwrap();
    assert_eq!(saved.layers_to_transform, Some(LayerIndices::Many(vec![0])));
}

#[test]
fn a_number_that_json_cannot_hold_is_an_error() {
    let error = LoraConfig::new(["q"]).with_lora_dropout(f64::NAN).to_json().unwrap_err();
    assert!(matches!(error, ConfigError::InvalidField { field: "lora_dropout", .. }));
}
