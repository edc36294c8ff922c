//! What one adapter asks of one layer.

use crate::config::{ConfigError, InitLoraWeights, LoraConfig, ScalingRules};
use std::sync::Arc;

/// The options of one adapter on one layer, after `rank_pattern` and `alpha_pattern` have spoken.
///
/// [`LoraOptions::default`] holds PEFT's constructor defaults, whose rank 0 is refused like every rank below 1.
///
/// ```
/// use qtuner_core::LoraOptions;
/// let options = LoraOptions::default().with_rank(16).with_alpha(32.0);
/// assert_eq!(options.scaling(), 2.0);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LoraOptions {
    /// Rank of the update.
    pub rank: i64,
    /// Numerator of the scaling.
    pub lora_alpha: f64,
    /// Probability with which an input feature is dropped in training.
    pub lora_dropout: f64,
    /// How `A` and `B` start.
    pub init_lora_weights: InitLoraWeights,
    /// Whether the scaling is `alpha / sqrt(r)`.
    pub use_rslora: bool,
    /// Whether `DoRA` is asked for.
    pub use_dora: bool,
    /// Whether `B` has a bias.
    pub lora_bias: bool,
    /// The config that these options come from; it is what is saved with the adapter.
    pub config: Arc<LoraConfig>,
}

impl Default for LoraOptions {
    fn default() -> Self {
        Self {
            rank: 0,
            lora_alpha: 1.0,
            lora_dropout: 0.0,
            init_lora_weights: InitLoraWeights::True,
            use_rslora: false,
            use_dora: false,
            lora_bias: false,
            config: Arc::new(LoraConfig::default()),
        }
    }
}

impl LoraOptions {
    /// The options that `config`, whose compiled patterns are `rules`, gives to the module called `path`.
    ///
    /// # Errors
    /// [`ConfigError::RegexFailed`] when a pattern cannot be evaluated on this name.
    pub fn for_module(
        config: &Arc<LoraConfig>,
        rules: &ScalingRules,
        path: &str,
    ) -> Result<Self, ConfigError> {
        Ok(Self {
            rank: rules.rank_for(path)?,
            lora_alpha: rules.alpha_for(path)?.value(),
            ..Self::from_shared(Arc::clone(config))
        })
    }

    fn from_shared(config: Arc<LoraConfig>) -> Self {
        Self {
            rank: config.rank,
            lora_alpha: config.lora_alpha.value(),
            lora_dropout: config.lora_dropout,
            init_lora_weights: config.init_lora_weights.clone(),
            use_rslora: config.use_rslora,
            use_dora: config.use_dora,
            lora_bias: config.lora_bias,
            config,
        }
    }

    /// `lora_alpha / r`, or `lora_alpha / sqrt(r)` with `use_rslora`.
    #[allow(clippy::cast_precision_loss, reason = "a rank is far below 2^53")]
    pub fn scaling(&self) -> f64 {
        let rank = self.rank as f64;
        self.lora_alpha / if self.use_rslora { rank.sqrt() } else { rank }
    }

    /// With another rank.
    #[must_use]
    pub fn with_rank(self, rank: i64) -> Self {
        Self { rank, ..self }
    }

    /// With another numerator of the scaling.
    #[must_use]
    pub fn with_alpha(self, lora_alpha: f64) -> Self {
        Self { lora_alpha, ..self }
    }

    /// With another dropout probability.
    #[must_use]
    pub fn with_dropout(self, lora_dropout: f64) -> Self {
        Self { lora_dropout, ..self }
    }

    /// With another start of `A` and `B`.
    #[must_use]
    pub fn with_init(self, init_lora_weights: InitLoraWeights) -> Self {
        Self { init_lora_weights, ..self }
    }
}

impl From<&LoraConfig> for LoraOptions {
    /// The options for a layer that no pattern of the config names.
    fn from(config: &LoraConfig) -> Self {
        Self::from_shared(Arc::new(config.clone()))
    }
}
