//! Configs that mix spellings or leave keys out: read as transformers 5.24 reads them, or refused; those without
//! `rope_parameters` as transformers 4 does.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::fields::Fields;
use super::{DecoderConfig, LayerKind, RopeConfig, RopeScaling, family};
use crate::ModelError;
use serde_json::{Value, json};
use std::path::Path;

fn read(model_type: &str, keys: &Value) -> Result<DecoderConfig, ModelError> {
    let mut config = json!({
        "model_type": model_type, "vocab_size": 32, "hidden_size": 64, "intermediate_size": 64,
        "num_hidden_layers": 6, "num_attention_heads": 4, "head_dim": 16, "max_position_embeddings": 256,
    });
    let object = config.as_object_mut().unwrap();
    object.extend(keys.as_object().unwrap().clone());
    family::read(&Fields::new(Path::new("config.json"), object))
}

#[track_caller]
fn assert_rope(keys: &Value, theta: f64, scaling: RopeScaling) {
    assert_eq!(read("llama", keys).unwrap().rope, RopeConfig { theta, scaling }, "{keys}");
}

/// Of gemma3: the global layers' rotation, and the local layers' base.
#[track_caller]
fn assert_ropes(keys: &Value, theta: f64, scaling: RopeScaling, local_theta: f64) {
    let config = read("gemma3_text", keys).unwrap();
    assert_eq!(config.rope, RopeConfig { theta, scaling }, "{keys}");
    assert_eq!(config.local_rope, RopeConfig { theta: local_theta, scaling: RopeScaling::None }, "{keys}");
}

#[track_caller]
fn assert_refused(model_type: &str, keys: &Value, says: &str) {
    let error = read(model_type, keys).unwrap_err();
    assert!(matches!(error, ModelError::Config { .. }), "{error:?}");
    assert!(error.to_string().contains(says), "{error}");
}

const CONTEXT: &str = "original_max_position_embeddings";

fn put(keys: &mut Value, key: &str, value: Option<i64>) {
    if let Some(value) = value {
        keys[key] = json!(value);
    }
}

fn linear(factor: f64) -> RopeScaling {
    RopeScaling::Linear { factor }
}

#[test]
fn a_base_in_the_rotation_goes_before_the_configs_which_goes_before_the_default() {
    let scaled = json!({"rope_type": "linear", "factor": 2});
    let with_base = json!({"rope_type": "linear", "factor": 2, "rope_theta": 100});
    for key in ["rope_parameters", "rope_scaling"] {
        assert_rope(&json!({key: scaled}), 1e4, linear(2.0));
        assert_rope(&json!({"rope_theta": 5e5, key: scaled}), 5e5, linear(2.0));
        assert_rope(&json!({key: with_base}), 100.0, linear(2.0));
        assert_rope(&json!({"rope_theta": 5e5, key: {}}), 5e5, RopeScaling::None);
        assert_rope(&json!({"rope_theta": 5e5, key: null}), 5e5, RopeScaling::None);
    }
    assert_rope(&json!({"rope_theta": 5e5, "rope_parameters": with_base}), 100.0, linear(2.0));
    // transformers 4 knows no base in there.
    assert_rope(&json!({"rope_theta": 5e5, "rope_scaling": with_base}), 5e5, linear(2.0));
}

#[test]
fn a_rope_scaling_that_holds_anything_stands_for_all_of_rope_parameters() {
    let parameters = json!({"rope_type": "default", "rope_theta": 5e5});
    let both = |scaling: Value| json!({"rope_parameters": parameters, "rope_scaling": scaling});
    assert_rope(&both(json!({"rope_type": "linear", "factor": 4})), 1e4, linear(4.0));
    assert_rope(&both(json!({"type": "linear", "factor": 4})), 1e4, linear(4.0));
    assert_rope(&both(json!({})), 5e5, RopeScaling::None);
    assert_rope(&both(json!(null)), 5e5, RopeScaling::None);
}

#[test]
fn the_configs_original_context_goes_before_the_rotations_own() {
    let contexts = [(None, None, 256), (None, Some(32), 32), (Some(64), None, 64), (Some(64), Some(32), 64)];
    for scaling in [
        json!({"rope_type": "yarn", "factor": 4}),
        json!({"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4}),
    ] {
        for (above, own, expected) in contexts {
            let mut keys = json!({"rope_scaling": scaling});
            put(&mut keys, CONTEXT, above);
            put(&mut keys["rope_scaling"], CONTEXT, own);
            let (RopeScaling::Yarn { original_max_position_embeddings: found, .. }
            | RopeScaling::Llama3 { original_max_position_embeddings: found, .. }) =
                read("llama", &keys).unwrap().rope.scaling
            else {
                panic!("{keys} is neither");
            };
            assert_eq!(found, expected, "{keys}");
        }
    }
}

#[test]
fn the_original_context_of_a_kind_of_layers_is_its_own() {
    for (own, expected) in [(None, 256), (Some(64), 64)] {
        let mut yarn = json!({"rope_type": "yarn", "factor": 4});
        put(&mut yarn, CONTEXT, own);
        for keys in [json!({"rope_scaling": yarn}), json!({"rope_parameters": {"full_attention": yarn}})] {
            let mut keys = keys;
            put(&mut keys, CONTEXT, Some(32));
            let RopeScaling::Yarn { original_max_position_embeddings, .. } =
                read("gemma3_text", &keys).unwrap().rope.scaling
            else {
                panic!("{keys} is no yarn");
            };
            assert_eq!(original_max_position_embeddings, expected, "{keys}");
        }
    }
}

#[test]
fn kinds_of_layers_take_the_bases_that_they_lack_from_the_config() {
    let scaled = json!({"type": "linear", "factor": 8});
    let bases = |mut keys: Value| {
        keys["rope_theta"] = json!(5e5);
        keys["rope_local_base_freq"] = json!(777);
        keys
    };
    let nested = json!({"rope_parameters": {"full_attention": scaled, "sliding_attention": {}}});
    assert_ropes(&nested, 1e6, linear(8.0), 1e4);
    assert_ropes(&bases(nested), 5e5, linear(8.0), 777.0);
    for parameters in [json!(null), json!({}), json!({"full_attention": null})] {
        let keys = json!({"rope_parameters": parameters});
        assert_ropes(&keys, 1e6, RopeScaling::None, 1e4);
        assert_ropes(&bases(keys), 5e5, RopeScaling::None, 777.0);
    }
    let with_bases = json!({"rope_parameters": {
        "full_attention": {"rope_theta": 9}, "sliding_attention": {"rope_theta": 8},
    }});
    assert_ropes(&bases(with_bases), 9.0, RopeScaling::None, 8.0);
}

#[test]
fn rope_scaling_updates_the_rotation_of_global_layers() {
    let both = |scaling: Value| {
        json!({"rope_scaling": scaling, "rope_theta": 5e5, "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 2, "rope_theta": 9},
            "sliding_attention": {"rope_type": "default", "rope_theta": 8},
        }})
    };
    assert_ropes(&both(json!({})), 9.0, linear(2.0), 8.0);
    assert_ropes(&both(json!({"factor": 4})), 9.0, linear(4.0), 8.0);
    assert_ropes(&both(json!({"type": "linear", "factor": 4})), 9.0, linear(4.0), 8.0);
    assert_ropes(&both(json!({"rope_type": "default", "rope_theta": 7})), 7.0, RopeScaling::None, 8.0);
    let alone =
        json!({"rope_theta": 5e5, "rope_scaling": {"rope_type": "linear", "factor": 8, "rope_theta": 7}});
    assert_ropes(&alone, 5e5, linear(8.0), 1e4);
    assert_ropes(&json!({"rope_scaling": {"type": "linear", "factor": 8}}), 1e6, linear(8.0), 1e4);
    let says = "key `rope_parameters.full_attention.factor` is 0";
    let keys = json!({"rope_scaling": {"rope_type": "linear"}, "rope_parameters": {"full_attention": {"factor": 0}}});
    assert_refused("gemma3_text", &keys, says);
}

#[test]
fn what_transformers_passes_over_is_refused() {
    let linear = json!({"type": "linear", "factor": 8});
    let says = "key `rope_scaling.type` is \"linear\", expected its value under the key `rope_type`";
    let full = json!({"full_attention": {"rope_type": "default"}});
    assert_refused("gemma3_text", &json!({"rope_scaling": linear, "rope_parameters": full}), says);

    let says = "key `rope_parameters.full_attention` is missing";
    assert_refused("gemma3_text", &json!({"rope_parameters": linear}), says);
    let says = "key `rope_parameters.full_attention` is {";
    assert_refused("llama", &json!({"rope_parameters": {"full_attention": linear}}), says);
    assert_refused("qwen2", &json!({"rope_parameters": {"full_attention": linear}}), says);

    let yarn = json!({"rope_type": "yarn", "factor": 4, "truncate": false});
    assert_refused("gemma3_text", &json!({"rope_scaling": yarn}), "key `rope_scaling.truncate` is false");
    let keys = json!({"rope_parameters": {"full_attention": {}, "truncate": false}});
    assert_refused("gemma3_text", &keys, "key `rope_parameters.truncate` is false");
    assert!(read("llama", &json!({"rope_scaling": yarn})).is_ok());
}

#[test]
fn a_partial_rotation_is_refused_unless_transformers_does_not_see_it() {
    let linear = json!({"rope_type": "linear", "factor": 8});
    assert_rope(&json!({"partial_rotary_factor": 0.5}), 1e4, RopeScaling::None);
    for model_type in ["llama", "gemma3_text"] {
        let keys = json!({"partial_rotary_factor": 0.5, "rope_scaling": linear});
        assert_refused(model_type, &keys, "key `partial_rotary_factor` is 0.5");
        let keys = json!({"rope_scaling": {"partial_rotary_factor": 0.5}});
        assert_refused(model_type, &keys, "key `rope_scaling.partial_rotary_factor` is 0.5");
    }
}

#[test]
fn a_missing_window_is_4096_and_a_null_one_is_none() {
    let sliding = json!({"use_sliding_window": true, "max_window_layers": 2});
    for (model_type, keys, locals) in [
        ("mistral", json!({}), 6),
        ("qwen2", sliding.clone(), 4),
        ("qwen3", sliding, 4),
        ("gemma3_text", json!({}), 5),
    ] {
        let config = read(model_type, &keys).unwrap();
        let local = config.layers.iter().filter(|layer| **layer == LayerKind::Local).count();
        assert_eq!((config.sliding_window, local), (Some(4096), locals), "{model_type}");

        let mut keys = keys;
        keys["sliding_window"] = json!(null);
        if model_type == "gemma3_text" {
            assert_refused(model_type, &keys, "key `sliding_window` is null");
            continue;
        }
        let config = read(model_type, &keys).unwrap();
        assert_eq!(
            (config.sliding_window, config.layers),
            (None, vec![LayerKind::Global; 6]),
            "{model_type}"
        );
    }
    for model_type in ["llama", "qwen2", "qwen3"] {
        assert_eq!(read(model_type, &json!({})).unwrap().sliding_window, None, "{model_type}");
    }
}
