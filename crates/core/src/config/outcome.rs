//! Whether the modules that a config hit make sense together: PEFT's four "no matching target" errors.

use super::error::{ConfigError, ConfigWarning};
use super::lora_config::LoraConfig;
use super::matching::TargetMatcher;

impl TargetMatcher {
    /// Judges the counts of a [`Survey`](crate::Survey): of `total` modules, `matched` get an adapter and
    /// `excluded` were excluded.
    ///
    /// ```
    /// use qtuner_core::{ConfigError, LoraConfig, TargetMatcher};
    ///
    /// let matcher = TargetMatcher::new(&LoraConfig::new(["proj"]))?;
    /// let survey = matcher.survey(["layers.0.q_proj"])?;
    /// let outcome = matcher.check_outcome(survey.matched.len(), survey.excluded.len(), survey.total);
    /// assert!(matches!(outcome, Err(ConfigError::TargetsNotFound { .. })));
    /// # Ok::<(), ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// If nothing matched: [`ConfigError::AllExcluded`], [`ConfigError::NoTargets`],
    /// [`ConfigError::TargetsNotFound`] or [`ConfigError::NothingTargeted`].
    pub fn check_outcome(
        &self,
        matched: usize,
        excluded: usize,
        total: usize,
    ) -> Result<Vec<ConfigWarning>, ConfigError> {
        if matched > 0 {
            return Ok(self.exclude_unused(excluded).into_iter().collect());
        }
        let config = &self.config;
        let given = config.target_modules.as_ref().filter(|targets| !targets.is_empty());
        Err(match given {
            _ if excluded > 0 && excluded == total => ConfigError::AllExcluded { excluded },
            None if excluded == 0 => ConfigError::NoTargets,
            Some(targets) if excluded == 0 => ConfigError::TargetsNotFound {
                targets: targets.to_string(),
                total,
                layers: layer_hint(config),
            },
            targets => ConfigError::NothingTargeted {
                targets: targets.map_or_else(|| "[]".to_owned(), ToString::to_string),
                total,
                excluded,
                layers: layer_hint(config),
            },
        })
    }

    fn exclude_unused(&self, excluded: usize) -> Option<ConfigWarning> {
        let exclude = self.config.exclude_modules.as_ref()?;
        let is_given = self.exclude.entries().iter().any(|entry| !entry.is_empty());
        (is_given && excluded == 0)
            .then(|| ConfigWarning::ExcludeUnused { exclude_modules: exclude.to_string() })
    }
}

/// The layer filter in words, to be appended to a message.
fn layer_hint(config: &LoraConfig) -> String {
    let layers = config
        .layers_to_transform
        .as_ref()
        .map(|layers| format!(" with layers_to_transform {:?}", layers.as_slice()));
    let pattern =
        config.layers_pattern.as_ref().map(|pattern| format!(" and layers_pattern {:?}", pattern.as_slice()));
    layers.into_iter().chain(pattern).collect()
}
