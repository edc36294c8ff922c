//! PEFT's matching table: every row that was verified against PEFT.

use super::super::{
    ExcludeModules, LayerIndices, LayersPattern, LoraConfig, Match, TargetMatcher, TargetModules,
};

const L: &str = "model.layers.3.self_attn.q_proj";

fn targets(text: impl Into<TargetModules>) -> LoraConfig {
    LoraConfig::new(text)
}

fn layers(target: &str, indices: impl Into<LayerIndices>) -> LoraConfig {
    LoraConfig::new([target]).with_layers_to_transform(indices)
}

fn layers_in(
    target: &str,
    indices: impl Into<LayerIndices>,
    pattern: impl Into<LayersPattern>,
) -> LoraConfig {
    layers(target, indices).with_layers_pattern(pattern)
}

fn excluding(exclude: impl Into<ExcludeModules>) -> LoraConfig {
    LoraConfig::new(["q_proj"]).with_exclude_modules(exclude)
}

fn saving_head(target: &str) -> LoraConfig {
    let mut config = LoraConfig::new([target]);
    config.modules_to_save = Some(vec!["lm_head".to_owned()]);
    config
}

#[test]
fn modules_match_as_in_peft() {
    let empty: [&str; 0] = [];
    let rows = vec![
        (L, targets(["q_proj"]), "yes"),
        (L, targets(["proj"]), "no"),
        (L, targets(["self_attn.q_proj"]), "yes"),
        (L, targets(["attn.q_proj"]), "no"),
        (L, targets("q_proj"), "no"),
        (L, targets(".*q_proj"), "yes"),
        (L, targets(r".*\.layers\.[0-2]\..*"), "no"),
        ("q_proj", targets(["q_proj"]), "yes"),
        ("xq_proj", targets(["q_proj"]), "no"),
        ("model.layers.3.self_attn.q_proj.lin", targets(["q_proj"]), "no"),
        (L, targets(empty), "no"),
        ("", targets(["a"]), "no"),
        (L, layers("q_proj", [3]), "yes"),
        (L, layers("q_proj", 3), "yes"),
        (L, layers("q_proj", [2]), "no"),
        (L, layers("q_proj", []), "yes"),
        (L, layers("q_proj", 0), "no"),
        ("layers.3.q_proj", layers("q_proj", [3]), "no"),
        ("layers.3.q_proj", layers_in("q_proj", [3], "layers"), "no"),
        ("model.layers.03.q_proj", layers_in("q_proj", [3], "layers"), "yes"),
        ("model.h.3.q_proj", layers_in("q_proj", [3], ["layers", "h"]), "yes"),
        ("model.h.3.q_proj", layers_in("q_proj", [3], "layers"), "no"),
        ("model.layers.3.mlp.experts.7.up", layers("up", [7]), "no"),
        ("model.layers.3.mlp.experts.7.up", layers("up", [3]), "yes"),
        ("model.layers.3.mlp.experts.7.up", layers_in("up", [7], "experts"), "yes"),
        (L, layers(L, [0]), "yes"),
        (L, excluding(["q_proj"]), "excluded"),
        (L, excluding("q_proj"), "yes"),
        (L, excluding(r".*layers\.3\..*"), "excluded"),
        (L, excluding(["self_attn"]), "yes"),
        ("model.lm_head", saving_head("lm_head"), "excluded"),
        ("model.lm_head.sub.lin", saving_head("lin"), "excluded"),
        ("model.my_lm_head", saving_head("my_lm_head"), "yes"),
        // Beyond PEFT's table: what counts as not given, and alternatives in a layers_pattern.
        (L, targets(""), "no"),
        (L, LoraConfig::default(), "no"),
        (L, excluding(""), "yes"),
        (L, excluding(empty), "yes"),
        (L, layers_in("q_proj", [3], ""), "yes"),
        (L, layers_in("q_proj", [3], empty), "yes"),
        (L, layers_in("q_proj", [3], "h|layers"), "yes"),
        (L, layers_in("q_proj", [3], "(layers)"), "yes"),
        ("model.layers.0.q_proj", layers_in("q_proj", 0, "layers"), "yes"),
        ("model.layers.99999999999999999999.q_proj", layers("q_proj", [3]), "no"),
        (L, targets(["all-linear"]), "no"),
    ];
    for (name, config, expected) in rows {
        let matcher = TargetMatcher::new(&config).unwrap();
        let found = match matcher.matches(name).unwrap() {
            Match::No => "no",
            Match::Excluded { .. } => "excluded",
            Match::Yes { .. } => "yes",
        };
        assert_eq!(found, expected, "{name} | {config:?}");
    }
}

#[test]
fn a_match_names_the_entry_that_hit() {
    let matcher = TargetMatcher::new(&targets(["q_proj", "self_attn.q_proj"])).unwrap();
    assert_eq!(matcher.matches(L).unwrap(), Match::Yes { entry: "self_attn.q_proj" });
    let matcher = TargetMatcher::new(&excluding(".*")).unwrap();
    assert_eq!(matcher.matches(L).unwrap(), Match::Excluded { field: "exclude_modules", entry: ".*" });
    let matcher = TargetMatcher::new(&saving_head("q_proj")).unwrap();
    let excluded = Match::Excluded { field: "modules_to_save", entry: "lm_head" };
    assert_eq!(matcher.matches("lm_head").unwrap(), excluded);
}
