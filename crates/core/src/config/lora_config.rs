//! The config struct: PEFT's fields with PEFT's defaults.

use std::collections::BTreeMap;

use serde_json::Value;

use super::alpha::LoraAlpha;
use super::layers::{LayerIndices, LayersPattern};
use super::patterns::PatternMap;
use super::targets::{ExcludeModules, TargetModules};
use super::values::{Bias, InitLoraWeights, TaskType};

/// The PEFT release whose `adapter_config.json` is written, and which a new config carries as `peft_version`.
pub const PEFT_VERSION: &str = "0.20.0";

/// What an adapter is: which modules it sits on, its rank and scaling, how it starts.
///
/// The fields are PEFT's, and so are their names in `adapter_config.json`; only `r` has a longer name here.
/// Fields of PEFT without a counterpart in this struct live in [`extra`](Self::extra). Loading keeps whatever
/// the file says; [`validate`](Self::validate) is where a value is refused.
///
/// ```
/// use qtuner_core::{Bias, LoraConfig};
///
/// let mut config = LoraConfig::new(["q_proj", "v_proj"]).with_rank(16).with_lora_alpha(32);
/// config.use_rslora = true;
/// config.validate()?;
/// assert_eq!(config.scaling_for("model.layers.0.self_attn.q_proj")?, 8.0);
/// assert_eq!(config.bias, Bias::None);
/// # Ok::<(), qtuner_core::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
#[allow(clippy::struct_excessive_bools, reason = "they are PEFT's independent switches, under PEFT's names")]
pub struct LoraConfig {
    /// The rank `r` of `A [r, in]` and `B [out, r]`. Below 1 it is refused at each module it applies to.
    /// Default 8.
    #[doc(alias = "r")]
    pub rank: i64,
    /// The numerator of the scaling `lora_alpha / r`. Default 8.
    pub lora_alpha: LoraAlpha,
    /// The probability of dropping an input element of the adapter while training, in `[0, 1]`. Default 0.
    pub lora_dropout: f64,
    /// Which modules get an adapter. `None` looks the model type up in
    /// [`default_target_modules`](crate::default_target_modules).
    pub target_modules: Option<TargetModules>,
    /// Which modules never get one; asked before the targets.
    pub exclude_modules: Option<ExcludeModules>,
    /// The layer numbers to adapt; needs named targets.
    pub layers_to_transform: Option<LayerIndices>,
    /// The name of the list that the layer numbers index, such as `layers` or `h`.
    pub layers_pattern: Option<LayersPattern>,
    /// Ranks of single modules; the first pattern that hits wins.
    pub rank_pattern: PatternMap<i64>,
    /// Alphas of single modules; the first pattern that hits wins.
    pub alpha_pattern: PatternMap<LoraAlpha>,
    /// Which biases train along.
    pub bias: Bias,
    /// Scale by `lora_alpha / sqrt(r)`, so that the scaling does not vanish at high rank.
    pub use_rslora: bool,
    /// Weight decomposition: a trained magnitude per output row.
    pub use_dora: bool,
    /// Give `B` a bias.
    pub lora_bias: bool,
    /// How new adapters start.
    pub init_lora_weights: InitLoraWeights,
    /// The base weight is stored `[in, out]`. Without meaning for layers here, as for PEFT's linear layers.
    pub fan_in_fan_out: bool,
    /// Modules trained in full and saved beside the adapter. Read, kept, never adapted, and refused by
    /// `validate`.
    pub modules_to_save: Option<Vec<String>>,
    /// What the base model is trained for.
    pub task_type: Option<TaskType>,
    /// The base model's name or folder.
    pub base_model_name_or_path: Option<String>,
    /// The base model's revision.
    pub revision: Option<String>,
    /// The adapter does not train. Saved as `true`, whatever it is.
    pub inference_mode: bool,
    /// The version of PEFT that wrote the file; [`PEFT_VERSION`] in a new config.
    pub peft_version: String,
    /// The Python class of the base model, as PEFT notes it when there is no task type.
    pub auto_mapping: Option<Value>,
    /// All other keys of the file: PEFT's fields that this struct does not have, unless they hold PEFT's
    /// default, and fields that no known PEFT has. Saved again unchanged. Keys of the fields above are
    /// ignored here.
    pub extra: BTreeMap<String, Value>,
}

impl Default for LoraConfig {
    /// PEFT's defaults, without targets.
    fn default() -> Self {
        Self {
            rank: 8,
            lora_alpha: LoraAlpha::Integer(8),
            lora_dropout: 0.0,
            target_modules: None,
            exclude_modules: None,
            layers_to_transform: None,
            layers_pattern: None,
            rank_pattern: PatternMap::default(),
            alpha_pattern: PatternMap::default(),
            bias: Bias::None,
            use_rslora: false,
            use_dora: false,
            lora_bias: false,
            init_lora_weights: InitLoraWeights::True,
            fan_in_fan_out: false,
            modules_to_save: None,
            task_type: None,
            base_model_name_or_path: None,
            revision: None,
            inference_mode: false,
            peft_version: PEFT_VERSION.to_owned(),
            auto_mapping: None,
            extra: BTreeMap::new(),
        }
    }
}

impl LoraConfig {
    /// A config with PEFT's defaults for the given targets: a list of names, a regular expression, or
    /// "all-linear".
    ///
    /// ```
    /// use qtuner_core::LoraConfig;
    ///
    /// assert_eq!(LoraConfig::new("all-linear").rank, 8);
    /// ```
    pub fn new(target_modules: impl Into<TargetModules>) -> Self {
        Self { target_modules: Some(target_modules.into()), ..Self::default() }
    }

    /// Sets `r`.
    #[must_use]
    #[doc(alias = "with_r")]
    pub fn with_rank(self, rank: i64) -> Self {
        Self { rank, ..self }
    }

    /// Sets `lora_alpha`.
    #[must_use]
    pub fn with_lora_alpha(self, lora_alpha: impl Into<LoraAlpha>) -> Self {
        Self { lora_alpha: lora_alpha.into(), ..self }
    }

    /// Sets `lora_dropout`.
    #[must_use]
    pub fn with_lora_dropout(self, lora_dropout: f64) -> Self {
        Self { lora_dropout, ..self }
    }

    /// Sets `exclude_modules`.
    #[must_use]
    pub fn with_exclude_modules(self, exclude_modules: impl Into<ExcludeModules>) -> Self {
        Self { exclude_modules: Some(exclude_modules.into()), ..self }
    }

    /// Sets `layers_to_transform`.
    #[must_use]
    pub fn with_layers_to_transform(self, layers: impl Into<LayerIndices>) -> Self {
        Self { layers_to_transform: Some(layers.into()), ..self }
    }

    /// Sets `layers_pattern`.
    #[must_use]
    pub fn with_layers_pattern(self, pattern: impl Into<LayersPattern>) -> Self {
        Self { layers_pattern: Some(pattern.into()), ..self }
    }

    /// Sets `rank_pattern`.
    #[must_use]
    pub fn with_rank_pattern<K: Into<String>>(self, patterns: impl IntoIterator<Item = (K, i64)>) -> Self {
        Self { rank_pattern: patterns.into_iter().collect(), ..self }
    }

    /// Sets `alpha_pattern`.
    #[must_use]
    pub fn with_alpha_pattern<K: Into<String>, A: Into<LoraAlpha>>(
        self,
        patterns: impl IntoIterator<Item = (K, A)>,
    ) -> Self {
        let alpha_pattern = patterns.into_iter().map(|(key, alpha)| (key, alpha.into())).collect();
        Self { alpha_pattern, ..self }
    }

    /// Sets `bias`.
    #[must_use]
    pub fn with_bias(self, bias: Bias) -> Self {
        Self { bias, ..self }
    }

    /// Sets `init_lora_weights`.
    #[must_use]
    pub fn with_init_lora_weights(self, init_lora_weights: impl Into<InitLoraWeights>) -> Self {
        Self { init_lora_weights: init_lora_weights.into(), ..self }
    }

    /// Sets `task_type`.
    #[must_use]
    pub fn with_task_type(self, task_type: TaskType) -> Self {
        Self { task_type: Some(task_type), ..self }
    }

    /// Sets `base_model_name_or_path`.
    #[must_use]
    pub fn with_base_model(self, name_or_path: impl Into<String>) -> Self {
        Self { base_model_name_or_path: Some(name_or_path.into()), ..self }
    }
}
