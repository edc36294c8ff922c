//! A config held against all modules of a model: what is hit, and which entries hit nothing.

use std::collections::BTreeSet;

use super::error::ConfigError;
use super::matching::{Match, TargetMatcher};

/// The outcome of [`TargetMatcher::survey`]. Names of modules are in the order they came in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Survey {
    /// The modules that get an adapter.
    pub matched: Vec<String>,
    /// The modules that were excluded.
    pub excluded: Vec<String>,
    /// How many modules were looked at.
    pub total: usize,
    /// Entries of `target_modules` that are behind none of the matched modules.
    pub unused_target_modules: Vec<String>,
    /// Entries of `exclude_modules` that hit no module.
    pub unused_exclude_modules: Vec<String>,
    /// Keys of `rank_pattern` that decide no matched module's rank: misspelt, or behind another key.
    pub unused_rank_pattern: Vec<String>,
    /// Keys of `alpha_pattern` that decide no matched module's alpha.
    pub unused_alpha_pattern: Vec<String>,
}

impl TargetMatcher {
    /// Asks about every module and notes which entries had a part in the answers.
    ///
    /// ```
    /// use qtuner_core::{LoraConfig, TargetMatcher};
    ///
    /// let config = LoraConfig::new(["q_proj", "o_prj"]).with_rank_pattern([("k_proj", 4)]);
    /// let survey = TargetMatcher::new(&config)?.survey(["layers.0.q_proj", "layers.0.o_proj"])?;
    /// assert_eq!(survey.matched, ["layers.0.q_proj"]);
    /// assert_eq!(survey.unused_target_modules, ["o_prj"]);
    /// assert_eq!(survey.unused_rank_pattern, ["k_proj"]);
    /// # Ok::<(), qtuner_core::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// [`ConfigError::RegexFailed`] if a pattern could not be evaluated on a name.
    pub fn survey<'n>(&self, modules: impl IntoIterator<Item = &'n str>) -> Result<Survey, ConfigError> {
        let rules = self.scaling_rules();
        let mut survey = Survey::default();
        let (mut targets, mut excludes) = (BTreeSet::new(), BTreeSet::new());
        let (mut ranks, mut alphas) = (BTreeSet::new(), BTreeSet::new());
        for module in modules {
            survey.total += 1;
            excludes.extend(self.exclude.all_entries_for(module)?);
            match self.matches(module)? {
                Match::No => {}
                Match::Excluded { .. } => survey.excluded.push(module.to_owned()),
                Match::Yes { .. } => {
                    survey.matched.push(module.to_owned());
                    targets.extend(self.targets.all_entries_for(module)?);
                    ranks.extend(rules.rank_key_for(module)?);
                    alphas.extend(rules.alpha_key_for(module)?);
                }
            }
        }
        survey.unused_target_modules = without(self.targets.entries(), &targets);
        survey.unused_exclude_modules = without(self.exclude.entries(), &excludes);
        survey.unused_rank_pattern = without(rules.rank_keys(), &ranks);
        survey.unused_alpha_pattern = without(rules.alpha_keys(), &alphas);
        Ok(survey)
    }
}

fn without<'e>(entries: impl IntoIterator<Item = &'e str>, used: &BTreeSet<&str>) -> Vec<String> {
    entries.into_iter().filter(|entry| !used.contains(entry)).map(str::to_owned).collect()
}
