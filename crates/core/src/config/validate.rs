//! What a config may not say, whatever the model: PEFT's own refusals and the features that are not
//! implemented.
//!
//! Ranks are not checked here ([`check_rank`](crate::check_rank)), nor are patterns compiled
//! ([`TargetMatcher::new`](crate::TargetMatcher::new)); `use_dora` and `bias` are for the backend of each
//! layer to refuse.

use super::error::{ConfigError, ConfigProblems, ConfigWarning};
use super::layers::LayersPattern;
use super::lora_config::LoraConfig;
use super::other_fields::{self, OtherField};
use super::targets::TargetModules;
use super::values::InitLoraWeights;

const INITIALISERS: &str = "true, false and \"gaussian\" are implemented; an adapter that is only loaded \
    does not need its initialiser, so that true will do unless the initialiser changed the base weights";

impl LoraConfig {
    /// Checks the config by itself.
    ///
    /// ```
    /// use qtuner_core::{ConfigError, LoraConfig};
    ///
    /// let config = LoraConfig::new(".*q_proj").with_layers_to_transform([0, 1]);
    /// assert!(matches!(config.validate(), Err(ConfigError::Conflict { field: "layers_to_transform", .. })));
    /// ```
    ///
    /// # Errors
    /// The one problem there is, or [`ConfigError::Several`] with all of them.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mut problems = self.problems();
        match problems.len() {
            0 => Ok(()),
            1 => Err(problems.remove(0)),
            _ => Err(ConfigError::Several(ConfigProblems(problems))),
        }
    }

    /// Fields that are set and change nothing, and fields that are not known.
    pub fn warnings(&self) -> Vec<ConfigWarning> {
        let mut warnings: Vec<_> = other_fields::ignored(self).collect();
        if self.fan_in_fan_out {
            warnings.push(ConfigWarning::IgnoredField {
                field: "fan_in_fan_out",
                reason: "no layer here stores its weight as [in, out]".to_owned(),
            });
        }
        let fields: Vec<_> = self.unknown_fields().map(str::to_owned).collect();
        if !fields.is_empty() {
            warnings.push(ConfigWarning::UnknownFields { fields });
        }
        warnings
    }

    /// The keys in [`extra`](Self::extra) that PEFT's `LoraConfig` does not have.
    pub fn unknown_fields(&self) -> impl Iterator<Item = &str> {
        self.extra.keys().map(String::as_str).filter(|key| OtherField::find(key).is_none())
    }

    fn problems(&self) -> Vec<ConfigError> {
        let mut problems = Vec::new();
        self.check_numbers(&mut problems);
        self.check_layers(&mut problems);
        self.check_lora_bias(&mut problems);
        self.check_implemented(&mut problems);
        problems
    }

    fn check_numbers(&self, problems: &mut Vec<ConfigError>) {
        if !(0.0..=1.0).contains(&self.lora_dropout) {
            problems.push(ConfigError::OutOfRange {
                field: "lora_dropout",
                found: self.lora_dropout,
                expected: "a probability from 0 to 1",
            });
        }
        let named = self.alpha_pattern.iter().map(|(_, alpha)| ("alpha_pattern", *alpha));
        for (field, alpha) in std::iter::once(("lora_alpha", self.lora_alpha)).chain(named) {
            if !alpha.value().is_finite() {
                problems.push(ConfigError::OutOfRange {
                    field,
                    found: alpha.value(),
                    expected: "a finite number",
                });
            }
        }
    }

    fn check_layers(&self, problems: &mut Vec<ConfigError>) {
        if matches!(self.target_modules, Some(TargetModules::Regex(_) | TargetModules::AllLinear)) {
            let given = [
                self.layers_to_transform.as_ref().map(|_| "layers_to_transform"),
                self.layers_pattern.as_ref().map(|_| "layers_pattern"),
            ];
            problems.extend(given.into_iter().flatten().map(|field| ConfigError::Conflict {
                field,
                other: "target_modules as a string",
                hint: "write the layer numbers into the regular expression, or give target_modules as a list",
            }));
        }
        let layers = self.layers_to_transform.as_ref().filter(|layers| !layers.is_empty());
        let pattern = self.layers_pattern.as_ref().filter(|pattern| !LayersPattern::is_empty(pattern));
        if pattern.is_some() && layers.is_none() {
            problems.push(ConfigError::LayersPatternAlone);
        }
    }

    fn check_lora_bias(&self, problems: &mut Vec<ConfigError>) {
        if self.lora_bias && !matches!(self.init_lora_weights, InitLoraWeights::True | InitLoraWeights::False)
        {
            problems.push(ConfigError::Conflict {
                field: "lora_bias",
                other: "this init_lora_weights",
                hint: "set init_lora_weights to true or false",
            });
        }
        if self.lora_bias && self.use_dora {
            problems.push(ConfigError::Conflict {
                field: "lora_bias",
                other: "use_dora",
                hint: "switch one of them off",
            });
        }
    }

    fn check_implemented(&self, problems: &mut Vec<ConfigError>) {
        if let InitLoraWeights::Other(word) = &self.init_lora_weights {
            problems.push(ConfigError::Unsupported {
                field: "init_lora_weights",
                value: format!("{word:?}"),
                hint: INITIALISERS,
            });
        }
        if let Some(modules) = self.modules_to_save.as_ref().filter(|modules| !modules.is_empty()) {
            problems.push(ConfigError::Unsupported {
                field: "modules_to_save",
                value: format!("{modules:?}"),
                hint: "no module is trained in full beside the adapter; set it to null",
            });
        }
        problems.extend(other_fields::unsupported(self));
    }
}
