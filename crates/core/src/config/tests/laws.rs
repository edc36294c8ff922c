//! Laws that hold for every config and every set of names.

use std::collections::BTreeSet;

use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::Value;

use super::super::{
    Bias, ExcludeModules, InitLoraWeights, LayerIndices, LayersPattern, LoraAlpha, LoraConfig, ModuleKind,
    TargetMatcher, TargetModules, TaskType, minimal_target_modules,
};

const FINITE: fn(&f64) -> bool = |number| number.is_finite();

fn alpha() -> impl Strategy<Value = LoraAlpha> {
    prop_oneof![
        any::<i64>().prop_map(LoraAlpha::Integer),
        any::<f64>().prop_filter("finite", FINITE).prop_map(LoraAlpha::Float)
    ]
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter("finite", FINITE).prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(".{0,6}", inner, 0..4).prop_map(|map| map.into_iter().collect())
        ]
    })
}

fn targets() -> impl Strategy<Value = TargetModules> {
    prop_oneof![
        btree_set(".{0,8}", 0..4).prop_map(TargetModules::Names),
        ".*".prop_map(TargetModules::from),
        Just(TargetModules::AllLinear),
    ]
}

fn exclude() -> impl Strategy<Value = ExcludeModules> {
    prop_oneof![
        btree_set(".{0,8}", 0..4).prop_map(ExcludeModules::Names),
        ".*".prop_map(ExcludeModules::Regex)
    ]
}

prop_compose! {
    fn picked()(
        target_modules in option::of(targets()),
        exclude_modules in option::of(exclude()),
        // One(0) is saved as a list beside a layers_pattern, which is another law.
        layers_to_transform in option::of(prop_oneof![
            (1..i64::MAX).prop_map(LayerIndices::One),
            vec(any::<i64>(), 0..4).prop_map(LayerIndices::Many)
        ]),
        layers_pattern in option::of(prop_oneof![
            ".*".prop_map(LayersPattern::One),
            vec(".{0,8}", 0..3).prop_map(LayersPattern::Many)
        ]),
        modules_to_save in option::of(vec(".{0,8}", 0..3)),
    ) -> LoraConfig {
        LoraConfig {
            target_modules,
            exclude_modules,
            layers_to_transform,
            layers_pattern,
            modules_to_save,
            ..LoraConfig::default()
        }
    }
}

prop_compose! {
    fn config()(
        mut config in picked(),
        rank in any::<i64>(),
        lora_alpha in alpha(),
        lora_dropout in any::<f64>().prop_filter("finite", FINITE),
        rank_pattern in vec((".{0,8}", any::<i64>()), 0..4),
        alpha_pattern in vec((".{0,8}", alpha()), 0..4),
        switches in any::<[bool; 5]>(),
        bias in prop_oneof![Just(Bias::None), Just(Bias::All), Just(Bias::LoraOnly)],
        init in prop_oneof![
            Just(InitLoraWeights::True),
            Just(InitLoraWeights::False),
            ".*".prop_map(|word| word.as_str().into())
        ],
        task_type in option::of(prop_oneof![Just(TaskType::CausalLm), Just(TaskType::Seq2SeqLm)]),
        texts in [option::of(".*"), option::of(".*")],
        peft_version in ".*",
        auto_mapping in option::of(json_value().prop_filter("null is none", |value| !value.is_null())),
        extra in btree_map("x_.{0,6}", json_value(), 0..4),
    ) -> LoraConfig {
        config = config.with_rank(rank).with_lora_alpha(lora_alpha).with_lora_dropout(lora_dropout)
            .with_rank_pattern(rank_pattern).with_alpha_pattern(alpha_pattern).with_bias(bias)
            .with_init_lora_weights(init);
        [config.use_rslora, config.use_dora, config.lora_bias, config.fan_in_fan_out, config.inference_mode] = switches;
        config.task_type = task_type;
        [config.base_model_name_or_path, config.revision] = texts;
        config.peft_version = peft_version;
        config.auto_mapping = auto_mapping;
        config.extra = extra;
        config
    }
}

/// Dotted names over few words, so that suffixes overlap.
fn name() -> impl Strategy<Value = String> {
    vec(prop_oneof![Just("a"), Just("b"), Just("0"), Just("up")], 1..5).prop_map(|parts| parts.join("."))
}

/// The entries alone, with no layer filter, against a name.
fn hits(entries: &[String], name: &str) -> bool {
    TargetMatcher::new(&LoraConfig::new(entries)).unwrap().matches(name).unwrap().is_yes()
}

proptest! {
    /// Needs the `float_roundtrip` feature of `serde_json`: without it a float may come back one step off.
    #[test]
    fn a_saved_config_reads_back_as_it_was(config in config()) {
        let mut read = LoraConfig::from_json(&config.to_json().unwrap()).unwrap();
        prop_assert!(read.inference_mode);
        read.inference_mode = config.inference_mode;
        prop_assert_eq!(read, config);
    }

    #[test]
    fn saving_is_deterministic(config in config()) {
        let text = config.to_json().unwrap();
        prop_assert_eq!(LoraConfig::from_json(&text).unwrap().to_json().unwrap(), text);
    }

    #[test]
    fn full_names_match_themselves_and_what_ends_in_them(names in btree_set(name(), 1..8), other in name()) {
        let list: Vec<_> = names.iter().cloned().collect();
        for name in &names {
            prop_assert!(hits(&list, name));
        }
        let is_hit = names.iter().any(|name| other == *name || other.ends_with(&format!(".{name}")));
        prop_assert_eq!(hits(&list, &other), is_hit);
    }

    #[test]
    fn a_minimal_list_hits_all_wanted_and_no_other(
        wanted in btree_set(name(), 1..12),
        all in btree_set(name(), 0..12),
    ) {
        let wanted: Vec<_> = wanted.into_iter().collect();
        let others: Vec<_> = all.into_iter().filter(|other| !hits(&wanted, other)).collect();
        let minimal = minimal_target_modules(&wanted, &others).unwrap();
        prop_assert!(minimal.len() <= wanted.len());
        prop_assert!(wanted.iter().all(|name| hits(&minimal, name)));
        prop_assert!(!others.iter().any(|name| hits(&minimal, name)));
    }

    #[test]
    fn all_linear_adapts_exactly_the_linear_layers(
        names in btree_set(name(), 1..40),
        kinds in vec(prop_oneof![3 => Just(ModuleKind::Linear), 1 => Just(ModuleKind::Other)], 40),
    ) {
        let modules: Vec<_> = names.iter().map(|name| format!("m.{name}")).zip(kinds).collect();
        let resolved = match LoraConfig::new("all-linear").resolve_targets(&modules, None) {
            Ok(resolved) => resolved,
            Err(error) => return Err(TestCaseError::reject(error.to_string())),
        };
        let matcher = TargetMatcher::new(&resolved).unwrap();
        let linear = modules.iter().filter(|(_, kind)| *kind == ModuleKind::Linear);
        let linear: BTreeSet<_> = linear.map(|(name, _)| name.clone()).collect();
        let survey = matcher.survey(modules.iter().map(|(name, _)| name.as_str())).unwrap();
        prop_assert_eq!(survey.matched.into_iter().collect::<BTreeSet<_>>(), linear);
    }
}
