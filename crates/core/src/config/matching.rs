//! Which modules a config targets, by PEFT's rules and in PEFT's order.
//!
//! 1. `exclude_modules`: names or a regular expression;
//! 2. `modules_to_save`: the module or anything below it is excluded;
//! 3. `target_modules` as a regular expression for the whole name;
//! 4. `target_modules` as names: the exact name, which ends the question, or the end of a name after a dot,
//!    which the layer filter of `layers_to_transform` may still turn down.

use std::collections::BTreeSet;

use super::error::ConfigError;
use super::layers::LayerFilter;
use super::lora_config::LoraConfig;
use super::python_regex::PythonRegex;
use super::scaling::ScalingRules;
use super::targets::{ExcludeModules, TargetModules};

/// What a config says about one module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match<'m> {
    /// Not targeted.
    No,
    /// Excluded, whether it is targeted or not.
    Excluded {
        /// `exclude_modules` or `modules_to_save`.
        field: &'static str,
        /// The entry or pattern that hit.
        entry: &'m str,
    },
    /// Targeted.
    Yes {
        /// The entry or pattern that hit; of several names the longest.
        entry: &'m str,
    },
}

impl Match<'_> {
    /// Whether the module gets an adapter.
    pub fn is_yes(self) -> bool {
        matches!(self, Self::Yes { .. })
    }
}

/// A config's rules, compiled once and then asked about each module.
///
/// ```
/// use qtuner_core::{LoraConfig, Match, TargetMatcher};
///
/// let config = LoraConfig::new(["q_proj"]).with_exclude_modules(r".*\.layers\.0\..*");
/// let matcher = TargetMatcher::new(&config)?;
/// assert_eq!(matcher.matches("model.layers.1.q_proj")?, Match::Yes { entry: "q_proj" });
/// assert!(matches!(matcher.matches("model.layers.0.q_proj")?, Match::Excluded { .. }));
/// assert_eq!(matcher.matches("model.layers.1.k_proj")?, Match::No);
/// # Ok::<(), qtuner_core::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct TargetMatcher {
    pub(super) config: LoraConfig,
    pub(super) targets: NameRule,
    pub(super) exclude: NameRule,
    saved: Vec<PythonRegex>,
    layers: Option<LayerFilter>,
    scaling: ScalingRules,
}

impl TargetMatcher {
    /// Compiles every pattern of the config. Absent targets are taken for an empty list.
    ///
    /// # Errors
    /// [`ConfigError::Regex`] for a pattern that is not one, and [`ConfigError::UnresolvedAllLinear`].
    pub fn new(config: &LoraConfig) -> Result<Self, ConfigError> {
        let targets = match &config.target_modules {
            None => NameRule::Names(BTreeSet::new()),
            Some(TargetModules::Names(names)) => NameRule::Names(names.clone()),
            Some(TargetModules::Regex(regex)) => NameRule::Regex(PythonRegex::full("target_modules", regex)?),
            Some(TargetModules::AllLinear) => return Err(ConfigError::UnresolvedAllLinear),
        };
        let exclude = match &config.exclude_modules {
            Some(ExcludeModules::Names(names)) => NameRule::Names(names.clone()),
            Some(ExcludeModules::Regex(regex)) if !regex.is_empty() => {
                NameRule::Regex(PythonRegex::full("exclude_modules", regex)?)
            }
            None | Some(ExcludeModules::Regex(_)) => NameRule::Names(BTreeSet::new()),
        };
        let saved = config.modules_to_save.iter().flatten();
        Ok(Self {
            targets,
            exclude,
            saved: saved.map(|entry| PythonRegex::saved(entry)).collect::<Result<_, _>>()?,
            layers: LayerFilter::new(config)?,
            scaling: ScalingRules::new(config)?,
            config: config.clone(),
        })
    }

    /// What the config says about the module of this full name.
    ///
    /// # Errors
    /// [`ConfigError::RegexFailed`] if a pattern could not be evaluated on this name.
    pub fn matches(&self, module: &str) -> Result<Match<'_>, ConfigError> {
        if let Some(hit) = self.exclude.find(module)? {
            return Ok(Match::Excluded { field: "exclude_modules", entry: hit.entry });
        }
        for saved in &self.saved {
            if saved.is_match(module)? {
                return Ok(Match::Excluded { field: "modules_to_save", entry: saved.pattern() });
            }
        }
        let Some(hit) = self.targets.find(module)? else { return Ok(Match::No) };
        let admitted = match &self.layers {
            Some(layers) if hit.place == Place::End => layers.admits(module)?,
            _ => true,
        };
        Ok(if admitted { Match::Yes { entry: hit.entry } } else { Match::No })
    }

    /// The ranks, alphas and scalings of the config, compiled.
    pub fn scaling_rules(&self) -> &ScalingRules {
        &self.scaling
    }
}

/// Names or a regular expression.
#[derive(Debug, Clone)]
pub(super) enum NameRule {
    Names(BTreeSet<String>),
    Regex(PythonRegex),
}

/// An entry that hit, and how.
pub(super) struct Hit<'m> {
    pub(super) entry: &'m str,
    place: Place,
}

/// Which part of a name an entry covers.
#[derive(PartialEq, Eq)]
enum Place {
    Whole,
    End,
}

impl NameRule {
    fn find(&self, module: &str) -> Result<Option<Hit<'_>>, ConfigError> {
        match self {
            Self::Names(names) => Ok(hits(names, module).next()),
            Self::Regex(regex) => {
                Ok(regex.is_match(module)?.then_some(Hit { entry: regex.pattern(), place: Place::Whole }))
            }
        }
    }

    /// Every entry that hits `module`.
    pub(super) fn all_entries_for(&self, module: &str) -> Result<Vec<&str>, ConfigError> {
        match self {
            Self::Names(names) => Ok(hits(names, module).map(|hit| hit.entry).collect()),
            Self::Regex(_) => Ok(self.find(module)?.into_iter().map(|hit| hit.entry).collect()),
        }
    }

    /// Every entry.
    pub(super) fn entries(&self) -> Vec<&str> {
        match self {
            Self::Names(names) => names.iter().map(String::as_str).collect(),
            Self::Regex(regex) => vec![regex.pattern()],
        }
    }
}

/// The entries that are `module` or its end after a dot, longest first. Walks the dots of the name rather
/// than the entries, so that thousands of entries cost no more than a few.
fn hits<'m>(names: &'m BTreeSet<String>, module: &str) -> impl Iterator<Item = Hit<'m>> {
    let entry = |part: &str, place| names.get(part).map(|entry| Hit { entry, place });
    let whole = entry(module, Place::Whole);
    let ends = module.match_indices('.').filter_map(move |(dot, _)| entry(&module[dot + 1..], Place::End));
    whole.into_iter().chain(ends)
}
