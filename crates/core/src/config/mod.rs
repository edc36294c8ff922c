//! PEFT's `LoraConfig`: its fields, its `adapter_config.json`, and the rules by which it picks modules and
//! ranks.
//!
//! Pure text and numbers: nothing here knows of tensors or models. The way through it:
//!
//! 1. [`LoraConfig::new`] or [`LoraConfig::from_json`], then [`LoraConfig::validate`];
//! 2. [`LoraConfig::resolve_targets`] turns "all-linear" and absent targets into names of the model at hand;
//! 3. [`TargetMatcher::survey`] says which modules are adapted, which are excluded and which entries hit
//!    nothing, and [`TargetMatcher::check_outcome`] whether that is an error;
//! 4. [`ScalingRules`] gives each matched module its rank, alpha and scaling;
//! 5. [`LoraConfig::to_json`] writes the file that PEFT reads.
//!
//! ```
//! use qtuner_core::{LoraConfig, TargetMatcher};
//!
//! let config = LoraConfig::new(["q_proj"]).with_rank(16).with_rank_pattern([("layers\\.0\\..*", 4)]);
//! config.validate()?;
//! let matcher = TargetMatcher::new(&config)?;
//! let survey = matcher.survey(["model.layers.0.q_proj", "model.layers.1.q_proj", "model.norm"])?;
//! assert_eq!(survey.matched, ["model.layers.0.q_proj", "model.layers.1.q_proj"]);
//! assert_eq!(matcher.scaling_rules().rank_for("model.layers.0.q_proj")?, 4);
//! # Ok::<(), qtuner_core::ConfigError>(())
//! ```

mod all_linear;
mod alpha;
mod defaults;
mod error;
mod json;
mod json_field;
mod layers;
mod lora_config;
mod matching;
mod minimal;
mod other_fields;
mod outcome;
mod patterns;
mod python_json;
mod python_regex;
mod scaling;
mod survey;
mod targets;
mod validate;
mod values;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests;

pub use all_linear::{ModuleKind, all_linear_targets};
pub use alpha::LoraAlpha;
pub use defaults::default_target_modules;
pub use error::{ConfigError, ConfigProblems, ConfigWarning};
pub use layers::{LayerIndices, LayersPattern};
pub use lora_config::{LoraConfig, PEFT_VERSION};
pub use matching::{Match, TargetMatcher};
pub use minimal::minimal_target_modules;
pub use patterns::PatternMap;
pub use scaling::{ScalingRules, check_rank};
pub use survey::Survey;
pub use targets::{ExcludeModules, TargetModules};
pub use values::{Bias, InitLoraWeights, TaskType};
