//! The adapter life cycle that any tuner layer has, whatever its method.

use crate::{Layer, LayerError};
use tch::Tensor;

/// Whether dropout acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Dropout acts; the mode of a fresh tuner layer, as in PyTorch.
    Train,
    /// Dropout does nothing.
    Eval,
}

/// Whether the adapters contribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdapterState {
    /// The active adapters contribute and train.
    Enabled,
    /// The layer is its base, bit for bit, and no adapter trains.
    Disabled,
}

/// Whether a merge looks at its result first (PEFT's `safe_merge`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MergeCheck {
    /// The merged weight must be finite; otherwise the merge is refused and nothing changes.
    Finite,
    /// No check.
    Unchecked,
}

/// A layer that wraps a base layer and holds adapters, PEFT's `BaseTunerLayer`.
///
/// Who implements it: tuners. [`LoraLayer`](crate::LoraLayer) does for LoRA, so a backend never writes it. Who calls it:
/// the functions of [`model`](crate::model), which broadcast to every tuner layer of a model.
///
/// Names that a layer does not know are accepted by [`set_adapter`](Self::set_adapter), since adapters may target
/// different layers; the functions of `model` refuse names that no layer knows.
pub trait BaseTunerLayer: Layer {
    /// The layer that is wrapped. It may be a tuner layer itself: see [`innermost`](trait.Layer.html#method.innermost).
    fn base_layer(&self) -> &dyn Layer;

    /// The names of the adapters on this layer, sorted.
    fn adapter_names(&self) -> Vec<String>;

    /// The active adapters, in order of activation; some may not be on this layer.
    fn active_adapters(&self) -> &[String];

    /// Makes `names` the active adapters: they contribute, in this order, and their parameters train; the others' do not.
    /// Merged adapters are unmerged first.
    ///
    /// # Errors
    /// [`TunerError::Layer`] when a parameter's flag cannot be changed.
    fn set_adapter(&mut self, names: &[&str]) -> Result<(), TunerError>;

    /// Whether adapters contribute.
    fn adapter_state(&self) -> AdapterState;

    /// Lets the adapters contribute, or not. Disabling stops every adapter's training; enabling restores the active ones', but
    /// for those that are [frozen](crate::Trainability::Frozen).
    ///
    /// # Errors
    /// [`TunerError::Layer`] when a parameter's flag cannot be changed.
    fn set_adapter_state(&mut self, state: AdapterState) -> Result<(), TunerError>;

    /// Removes an adapter; absent is fine. If it was the only active one, the alphabetically first that remains becomes
    /// active, and is returned.
    ///
    /// # Errors
    /// [`TunerError::Merged`] while the adapter is merged.
    fn delete_adapter(&mut self, name: &str) -> Result<Option<String>, TunerError>;

    /// The adapters whose delta is in the weight now, in the order of merging.
    fn merged_adapters(&self) -> &[String];

    /// Merges `names` (those on this layer and not merged yet) into the weight.
    ///
    /// # Errors
    /// [`TunerError::MergeUnsupported`] when the base cannot take a delta, [`TunerError::NotFinite`] when the check fails;
    /// nothing has changed then.
    fn merge(&mut self, names: &[&str], check: MergeCheck) -> Result<(), TunerError>;

    /// Whether [`merge`](Self::merge) would work, without doing it.
    ///
    /// # Errors
    /// Those of `merge`.
    fn check_merge(&self, names: &[&str], check: MergeCheck) -> Result<(), TunerError>;

    /// Takes every merged delta out again; the base is bit for bit what it was.
    fn unmerge(&mut self);

    /// The layer without this wrapper: merged if adapters are merged, the base otherwise.
    fn unwrapped(&self) -> Box<dyn Layer>;

    /// Whether dropout acts.
    fn mode(&self) -> Mode;

    /// Lets dropout act, or not.
    fn set_mode(&mut self, mode: Mode);

    /// Every adapter parameter of this layer with its name below the layer (`lora_A.default.weight`), sorted by name.
    fn adapter_parameters(&self) -> Vec<(String, Tensor)>;
}

/// What can go wrong in the life cycle of an adapter.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TunerError {
    /// The adapter's rank is not positive, or beyond any use.
    #[error(
        "`{layer}`: adapter \"{adapter}\" has rank {rank}, expected 1 to {most}: set `r` (or its `rank_pattern` entry)"
    )]
    Rank {
        /// The layer.
        layer: String,
        /// The adapter.
        adapter: String,
        /// The rank asked for.
        rank: i64,
        /// The most that a layer of its sizes may get.
        most: i64,
    },
    /// An option that this layer does not have.
    #[error("`{layer}`: {option} is not supported: {hint}")]
    UnsupportedOption {
        /// The layer.
        layer: String,
        /// The option, as the config spells it.
        option: String,
        /// The way out.
        hint: String,
    },
    /// No layer has an adapter of this name.
    #[error("adapter \"{adapter}\" does not exist, expected one of {known:?}")]
    UnknownAdapter {
        /// The name that was given.
        adapter: String,
        /// The names that exist.
        known: Vec<String>,
    },
    /// The adapter is merged, and the operation needs it not to be.
    #[error("`{layer}`: adapter \"{adapter}\" is merged, expected it not to be: unmerge it first")]
    Merged {
        /// The layer.
        layer: String,
        /// The adapter.
        adapter: String,
    },
    /// The base layer cannot take a delta.
    #[error("`{layer}`: adapters cannot be merged into {base}: {hint}")]
    MergeUnsupported {
        /// The layer.
        layer: String,
        /// The base layer.
        base: String,
        /// The way out.
        hint: String,
    },
    /// A merged weight would hold infinities or NaN.
    #[error(
        "`{layer}`: merging adapter \"{adapter}\" gives values that are not finite: the adapter seems to be broken"
    )]
    NotFinite {
        /// The layer.
        layer: String,
        /// The adapter.
        adapter: String,
    },
    /// A scale that is no number or would divide by zero.
    #[error("adapter scale {scale} is not usable, expected a finite number{expected}")]
    Scale {
        /// The scale that was given.
        scale: f64,
        /// What else is asked of it.
        expected: &'static str,
    },
    /// The layer itself failed.
    #[error("`{layer}`: {source}")]
    Layer {
        /// The layer.
        layer: String,
        /// What went wrong.
        source: LayerError,
    },
}
