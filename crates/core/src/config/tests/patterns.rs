//! Ranks, alphas and scalings: PEFT's pattern table, and which keys are reported as unused.

use super::super::{ConfigError, LoraConfig, ScalingRules, TargetMatcher};

const L: &str = "model.layers.3.self_attn.q_proj";

#[test]
fn rank_and_alpha_keys_match_as_in_peft() {
    let rows: [(&[&str], &str, Option<&str>); 12] = [
        (&["q_proj"], L, Some("q_proj")),
        (&["^q_proj"], L, None),
        (&["proj"], L, None),
        (&[".*proj"], L, Some(".*proj")),
        (&["q_proj|v_proj"], L, Some("q_proj|v_proj")),
        (&[r"layers\.3\..*"], L, Some(r"layers\.3\..*")),
        (&[r"layers\.[0-3]\.self_attn\.q_proj"], L, Some(r"layers\.[0-3]\.self_attn\.q_proj")),
        (&["foo", "bar.foo"], "bar.foo", Some("foo")),
        (&["bar.foo", "foo"], "bar.foo", Some("bar.foo")),
        (&["^foo"], "foo", Some("^foo")),
        (&["^foo"], "bar.foo", None),
        (&["self_attn"], L, None),
    ];
    for (keys, name, expected) in rows {
        let config = LoraConfig::new([name])
            .with_rank_pattern(keys.iter().map(|key| (*key, 2)))
            .with_alpha_pattern(keys.iter().map(|key| (*key, 3)));
        let rules = ScalingRules::new(&config).unwrap();
        assert_eq!(rules.rank_key_for(name).unwrap(), expected, "{keys:?} ; {name}");
        assert_eq!(rules.alpha_key_for(name).unwrap(), expected, "{keys:?} ; {name}");
        let (rank, alpha) = if expected.is_some() { (2, 3.0) } else { (8, 8.0) };
        assert_eq!(config.rank_for(name).unwrap(), rank, "{keys:?} ; {name}");
        assert_eq!(
            config.alpha_for(name).unwrap().value().to_bits(),
            f64::to_bits(alpha),
            "{keys:?} ; {name}"
        );
    }
}

#[test]
fn the_first_key_that_hits_decides_in_either_order() {
    let first = LoraConfig::new(["q_proj"]).with_rank_pattern([("q_proj", 4), (".*proj", 16)]);
    let second = LoraConfig::new(["q_proj"]).with_rank_pattern([(".*proj", 16), ("q_proj", 4)]);
    assert_eq!((first.rank_for(L).unwrap(), second.rank_for(L).unwrap()), (4, 16));
}

#[test]
fn scaling_is_alpha_over_rank_or_over_its_root() {
    let mut config = LoraConfig::new(["q_proj"]).with_rank(16).with_lora_alpha(3);
    assert_eq!(config.scaling_for(L).unwrap().to_bits(), 0.1875_f64.to_bits());
    config.use_rslora = true;
    assert_eq!(config.scaling_for(L).unwrap().to_bits(), 0.75_f64.to_bits());
    let config = config.with_rank_pattern([("q_proj", 64)]).with_alpha_pattern([("q_proj", 0.5)]);
    assert_eq!(config.scaling_for(L).unwrap().to_bits(), 0.0625_f64.to_bits());
}

#[test]
fn a_rank_below_one_is_refused_at_the_module_it_applies_to() {
    let config = LoraConfig::new(["q_proj", "v_proj"]).with_rank(0).with_rank_pattern([("q_proj", 4)]);
    assert!(config.validate().is_ok());
    assert!(config.scaling_for("a.q_proj").is_ok());
    let refused = ConfigError::RankBelowOne { module: "a.v_proj".to_owned(), rank: 0 };
    assert_eq!(config.scaling_for("a.v_proj"), Err(refused));
}

#[test]
fn keys_without_effect_are_reported() {
    let config = LoraConfig::new(["q_proj", "v_proj", "lm_head", "up_prj"])
        .with_exclude_modules(["lm_head", "norm"])
        .with_rank_pattern([("q_proj", 4), (r"layers\.0\.q_proj", 2), ("lm_head", 2)])
        .with_alpha_pattern([("v_proj", 4), ("k_proj", 4)]);
    let names = ["model.layers.0.q_proj", "model.layers.0.v_proj", "model.layers.0.k_proj", "lm_head"];
    let survey = TargetMatcher::new(&config).unwrap().survey(names).unwrap();
    assert_eq!(survey.matched, ["model.layers.0.q_proj", "model.layers.0.v_proj"]);
    assert_eq!(survey.excluded, ["lm_head"]);
    assert_eq!(survey.total, 4);
    assert_eq!(survey.unused_target_modules, ["lm_head", "up_prj"]);
    assert_eq!(survey.unused_exclude_modules, ["norm"]);
    assert_eq!(survey.unused_rank_pattern, [r"layers\.0\.q_proj", "lm_head"]);
    assert_eq!(survey.unused_alpha_pattern, ["k_proj"]);
}

#[test]
fn overlapping_target_names_both_count_as_used() {
    let config = LoraConfig::new(["q_proj", "self_attn.q_proj"]);
    let survey = TargetMatcher::new(&config).unwrap().survey([L]).unwrap();
    assert!(survey.unused_target_modules.is_empty());
}
