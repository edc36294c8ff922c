//! Rank, alpha and scaling of one module: `S = alpha / r`, or `alpha / sqrt(r)` with `use_rslora`.
//!
//! `rank_pattern` and `alpha_pattern` are looked up independently; where no key hits, `r` and `lora_alpha`
//! hold.

use super::alpha::LoraAlpha;
use super::error::ConfigError;
use super::lora_config::LoraConfig;
use super::patterns::CompiledPatterns;

/// The ranks and alphas of a config, with their patterns compiled once.
///
/// ```
/// use qtuner_core::{LoraConfig, ScalingRules};
///
/// let config = LoraConfig::new(["q_proj", "v_proj"]).with_rank(16).with_lora_alpha(3);
/// let config = config.with_alpha_pattern([("v_proj", 8)]);
/// let rules = ScalingRules::new(&config)?;
/// assert_eq!(rules.scaling_for("model.layers.0.q_proj")?, 0.1875);
/// assert_eq!(rules.scaling_for("model.layers.0.v_proj")?, 0.5);
/// # Ok::<(), qtuner_core::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct ScalingRules {
    rank: i64,
    alpha: LoraAlpha,
    ranks: CompiledPatterns<i64>,
    alphas: CompiledPatterns<LoraAlpha>,
    divisor: fn(f64) -> f64,
}

impl ScalingRules {
    /// Compiles `rank_pattern` and `alpha_pattern`.
    ///
    /// # Errors
    /// [`ConfigError::Regex`] for a key that is not a regular expression.
    pub fn new(config: &LoraConfig) -> Result<Self, ConfigError> {
        Ok(Self {
            rank: config.rank,
            alpha: config.lora_alpha,
            ranks: CompiledPatterns::new("rank_pattern", &config.rank_pattern)?,
            alphas: CompiledPatterns::new("alpha_pattern", &config.alpha_pattern)?,
            divisor: if config.use_rslora { f64::sqrt } else { std::convert::identity },
        })
    }

    /// The rank of `module`, not yet checked to be positive ([`check_rank`]).
    ///
    /// # Errors
    /// [`ConfigError::RegexFailed`] if a pattern could not be evaluated on this name.
    pub fn rank_for(&self, module: &str) -> Result<i64, ConfigError> {
        Ok(self.ranks.find(module)?.map_or(self.rank, |(_, rank)| rank))
    }

    /// The alpha of `module`.
    ///
    /// # Errors
    /// [`ConfigError::RegexFailed`] if a pattern could not be evaluated on this name.
    pub fn alpha_for(&self, module: &str) -> Result<LoraAlpha, ConfigError> {
        Ok(self.alphas.find(module)?.map_or(self.alpha, |(_, alpha)| alpha))
    }

    /// The factor on `B(A(x))` for `module`, in double precision as PEFT computes it.
    ///
    /// # Errors
    /// [`ConfigError::RankBelowOne`], or [`ConfigError::RegexFailed`].
    #[allow(clippy::cast_precision_loss, reason = "no rank comes near 2^53")]
    pub fn scaling_for(&self, module: &str) -> Result<f64, ConfigError> {
        let rank = check_rank(module, self.rank_for(module)?)?;
        Ok(self.alpha_for(module)?.value() / (self.divisor)(rank as f64))
    }

    /// The key of `rank_pattern` that decides the rank of `module`, if one does.
    ///
    /// # Errors
    /// [`ConfigError::RegexFailed`] if a pattern could not be evaluated on this name.
    pub fn rank_key_for(&self, module: &str) -> Result<Option<&str>, ConfigError> {
        Ok(self.ranks.find(module)?.map(|(key, _)| key))
    }

    /// The key of `alpha_pattern` that decides the alpha of `module`, if one does.
    ///
    /// # Errors
    /// [`ConfigError::RegexFailed`] if a pattern could not be evaluated on this name.
    pub fn alpha_key_for(&self, module: &str) -> Result<Option<&str>, ConfigError> {
        Ok(self.alphas.find(module)?.map(|(key, _)| key))
    }

    pub(super) fn rank_keys(&self) -> impl Iterator<Item = &str> {
        self.ranks.keys()
    }

    pub(super) fn alpha_keys(&self) -> impl Iterator<Item = &str> {
        self.alphas.keys()
    }
}

/// Passes a rank of at least one through. Ranks are checked where they meet a module, because `rank_pattern`
/// may replace a bad default everywhere.
///
/// # Errors
/// [`ConfigError::RankBelowOne`], naming the module.
pub fn check_rank(module: &str, rank: i64) -> Result<i64, ConfigError> {
    if rank < 1 { Err(ConfigError::RankBelowOne { module: module.to_owned(), rank }) } else { Ok(rank) }
}

impl LoraConfig {
    /// The rank of one module. Compiles the patterns at every call: for many modules use [`ScalingRules`].
    ///
    /// # Errors
    /// Those of [`ScalingRules::new`] and [`ScalingRules::rank_for`].
    pub fn rank_for(&self, module: &str) -> Result<i64, ConfigError> {
        ScalingRules::new(self)?.rank_for(module)
    }

    /// The alpha of one module. Compiles the patterns at every call: for many modules use [`ScalingRules`].
    ///
    /// # Errors
    /// Those of [`ScalingRules::new`] and [`ScalingRules::alpha_for`].
    pub fn alpha_for(&self, module: &str) -> Result<LoraAlpha, ConfigError> {
        ScalingRules::new(self)?.alpha_for(module)
    }

    /// The scaling of one module. Compiles the patterns at every call: for many modules use [`ScalingRules`].
    ///
    /// # Errors
    /// Those of [`ScalingRules::new`] and [`ScalingRules::scaling_for`].
    pub fn scaling_for(&self, module: &str) -> Result<f64, ConfigError> {
        ScalingRules::new(self)?.scaling_for(module)
    }
}
