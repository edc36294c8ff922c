//! Targets that depend on the model: "all-linear", the defaults of a model type, and the condensed form of
//! long lists.

use std::collections::BTreeSet;

use super::defaults::default_target_modules;
use super::error::ConfigError;
use super::lora_config::LoraConfig;
use super::minimal;
use super::targets::TargetModules;

/// What "all-linear" has to know of a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModuleKind {
    /// A linear layer of any storage, dense, packed or wrapped by a tuner, that is not the head.
    Linear,
    /// The output head: the language model's last projection or the classifier.
    Head,
    /// Anything else.
    Other,
}

/// The full names that "all-linear" stands for: every linear layer, quantized ones too, without the head.
///
/// ```
/// use qtuner_core::{ModuleKind, all_linear_targets};
///
/// let kinds = [ModuleKind::Other, ModuleKind::Linear, ModuleKind::Head];
/// let modules: Vec<_> = ["model.norm", "model.up", "lm_head"].into_iter().zip(kinds).collect();
/// assert_eq!(all_linear_targets(&modules)?, ["model.up".to_owned()].into());
/// # Ok::<(), qtuner_core::ConfigError>(())
/// ```
///
/// # Errors
/// [`ConfigError::InseparableName`] where a linear layer's full name is also the end of a head's or another
/// module's name, so that listing it would adapt that one too.
pub fn all_linear_targets(
    modules: &[(impl AsRef<str>, ModuleKind)],
) -> Result<BTreeSet<String>, ConfigError> {
    let (mut linear, mut others) = (BTreeSet::new(), Vec::new());
    for (name, kind) in modules {
        match kind {
            ModuleKind::Linear => drop(linear.insert(name.as_ref().to_owned())),
            ModuleKind::Head | ModuleKind::Other => others.push(name.as_ref()),
        }
    }
    for other in others {
        let ends = other.match_indices('.').map(|(dot, _)| &other[dot + 1..]);
        if let Some(name) = ends.chain([other]).find(|end| linear.contains(*end)) {
            return Err(ConfigError::InseparableName { name: name.to_owned(), other: other.to_owned() });
        }
    }
    Ok(linear)
}

impl LoraConfig {
    /// This config with its targets fitted to a model, which is also how it is saved: absent targets become
    /// those of the model type, "all-linear" becomes names, and a list of 20 names or more becomes a shorter
    /// one that hits the same modules. Other targets stay as they are.
    ///
    /// A long list together with `layers_to_transform` is left alone: the layer filter does not apply to full
    /// names and would apply to their endings.
    ///
    /// ```
    /// use qtuner_core::{LoraConfig, ModuleKind, TargetModules};
    ///
    /// let layer = |i| (format!("model.layers.{i}.up_proj"), ModuleKind::Linear);
    /// let modules: Vec<_> = (0..32).map(layer).collect();
    /// let config = LoraConfig::new("all-linear").resolve_targets(&modules, None)?;
    /// assert_eq!(config.target_modules, Some(TargetModules::from(["up_proj"])));
    /// # Ok::<(), qtuner_core::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// [`ConfigError::NoDefaultTargets`] if there are neither targets nor defaults; those of
    /// [`all_linear_targets`] and [`minimal_target_modules`](crate::minimal_target_modules).
    pub fn resolve_targets(
        &self,
        modules: &[(impl AsRef<str>, ModuleKind)],
        model_type: Option<&str>,
    ) -> Result<Self, ConfigError> {
        let targets = match &self.target_modules {
            None => {
                model_type.and_then(default_target_modules).ok_or_else(|| ConfigError::NoDefaultTargets {
                    model_type: model_type.map_or_else(|| "(unknown)".to_owned(), |name| format!("{name:?}")),
                })?
            }
            Some(TargetModules::AllLinear) => TargetModules::Names(all_linear_targets(modules)?),
            Some(targets) => targets.clone(),
        };
        let targets = match targets {
            TargetModules::Names(names) if self.layers_to_transform.is_none() => {
                let modules: Vec<_> = modules.iter().map(|(name, _)| name.as_ref()).collect();
                TargetModules::Names(minimal::condense(&names, &modules)?.unwrap_or(names))
            }
            targets => targets,
        };
        Ok(Self { target_modules: Some(targets), ..self.clone() })
    }
}
