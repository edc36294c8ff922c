//! The four errors for "nothing was adapted", and the warning about a useless exclusion.

use super::super::{ConfigError, ConfigWarning, LoraConfig, TargetMatcher};

const NAMES: [&str; 3] = ["model.layers.0.q_proj", "model.layers.0.v_proj", "lm_head"];

fn outcome(config: &LoraConfig) -> Result<Vec<ConfigWarning>, ConfigError> {
    let matcher = TargetMatcher::new(config).unwrap();
    let survey = matcher.survey(NAMES).unwrap();
    matcher.check_outcome(survey.matched.len(), survey.excluded.len(), survey.total)
}

#[test]
fn nothing_adapted_is_one_of_four_errors() {
    let none: [&str; 0] = [];
    let all_excluded = outcome(&LoraConfig::new(["q_proj"]).with_exclude_modules(".*")).unwrap_err();
    assert_eq!(all_excluded, ConfigError::AllExcluded { excluded: 3 });
    assert_eq!(outcome(&LoraConfig::new(none)).unwrap_err(), ConfigError::NoTargets);
    assert_eq!(outcome(&LoraConfig::default()).unwrap_err(), ConfigError::NoTargets);
    let not_found = outcome(&LoraConfig::new(["proj"])).unwrap_err();
    assert!(matches!(not_found, ConfigError::TargetsNotFound { total: 3, .. }), "{not_found}");
    let nothing = outcome(&LoraConfig::new(["q_proj"]).with_exclude_modules(["q_proj"])).unwrap_err();
    assert!(matches!(nothing, ConfigError::NothingTargeted { total: 3, excluded: 1, .. }), "{nothing}");
}

#[test]
fn a_layer_filter_is_named_where_nothing_was_found() {
    let config = LoraConfig::new(["q_proj"]).with_layers_to_transform([7]).with_layers_pattern("layers");
    let hint = "with layers_to_transform [7] and layers_pattern [\"layers\"]";
    assert!(outcome(&config).unwrap_err().to_string().contains(hint));
    assert!(outcome(&config.with_exclude_modules(["lm_head"])).unwrap_err().to_string().contains(hint));
}

#[test]
fn an_exclusion_that_excludes_nothing_is_a_warning() {
    let unused = outcome(&LoraConfig::new(["q_proj"]).with_exclude_modules(["norm"])).unwrap();
    assert_eq!(unused, [ConfigWarning::ExcludeUnused { exclude_modules: "[\"norm\"]".to_owned() }]);
    assert_eq!(outcome(&LoraConfig::new(["q_proj"]).with_exclude_modules(["lm_head"])), Ok(vec![]));
    assert_eq!(outcome(&LoraConfig::new(["q_proj"])), Ok(vec![]));
}

#[test]
fn a_model_without_modules_is_an_error_too() {
    let matcher = TargetMatcher::new(&LoraConfig::new(["q_proj"])).unwrap();
    assert!(matches!(matcher.check_outcome(0, 0, 0), Err(ConfigError::TargetsNotFound { total: 0, .. })));
}
