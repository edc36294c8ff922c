//! The tuner layer: any number of adapters over one base layer.

use super::{LoraAdapter, LoraLayer, LoraOptions};
use crate::{AdapterState, AdapterStore, Layer, LayerError, Mode, TunerError};
use std::collections::BTreeMap;
use std::fmt;

/// LoRA over any layer.
///
/// Dense layers are wrapped in it directly; a backend's own wrapper (`AwqLoraLinear`) holds one and adds the backend's
/// constraints. It works without a registry, too:
///
/// ```
/// use qtuner_core::{Layer, Linear, LoraLayer, LoraLinear, LoraOptions};
/// use tch::{Device, Kind, Tensor};
///
/// let base = Linear::new(Tensor::randn([3, 4], (Kind::Float, Device::Cpu)), None)?;
/// let x = Tensor::randn([2, 4], (Kind::Float, Device::Cpu));
/// let y = base.forward(&x)?;
/// let lora = LoraLinear::new(Box::new(base), "default", LoraOptions::default().with_rank(2))?;
/// assert_eq!(lora.forward(&x)?, y); // a fresh adapter changes nothing
/// assert_eq!(lora.scaling("default"), Some(0.5));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct LoraLinear {
    pub(super) kind_name: &'static str,
    pub(super) path: String,
    pub(super) base: Box<dyn Layer>,
    pub(super) adapters: BTreeMap<String, LoraAdapter>,
    pub(super) active: Vec<String>,
    pub(super) state: AdapterState,
    pub(super) mode: Mode,
    pub(super) merged: Option<Merged>,
    pub(super) store: Option<AdapterStore>,
}

/// What the tuner layers of one model have in common.
#[derive(Debug, Clone)]
pub(crate) struct Situation {
    /// The active adapters.
    pub(crate) active: Vec<String>,
    /// Whether they contribute.
    pub(crate) state: AdapterState,
    /// Whether dropout acts.
    pub(crate) mode: Mode,
}

/// A merged copy of the base, which stands beside the base until it is dropped by unmerging.
pub(super) struct Merged {
    pub(super) names: Vec<String>,
    pub(super) layer: Box<dyn Layer>,
}

/// The rank that a layer may have whatever its sizes.
const MOST_RANK: i64 = 1024;

impl LoraLinear {
    /// Wraps `base` and gives it its first adapter, which is active.
    ///
    /// # Errors
    /// Those of [`update_layer`](LoraLayer::update_layer).
    pub fn new(
        base: Box<dyn Layer>,
        adapter_name: &str,
        options: impl Into<LoraOptions>,
    ) -> Result<Self, TunerError> {
        let mut lora = Self {
            kind_name: "lora.Linear",
            path: String::new(),
            base,
            adapters: BTreeMap::new(),
            active: vec![adapter_name.to_owned()],
            state: AdapterState::Enabled,
            mode: Mode::Train,
            merged: None,
            store: None,
        };
        lora.update_layer(adapter_name, options.into())?;
        Ok(lora)
    }

    /// With another kind name: a backend's wrapper says its own, starting with `lora.`.
    #[must_use]
    pub fn with_kind_name(self, kind_name: &'static str) -> Self {
        Self { kind_name, ..self }
    }

    /// The adapter called `name`, if it is on this layer.
    pub fn adapter(&self, name: &str) -> Option<&LoraAdapter> {
        self.adapters.get(name)
    }

    /// The layer's name in the model once it was injected, its kind before that; for errors.
    pub(super) fn place(&self) -> String {
        if self.path.is_empty() { self.kind_name.to_owned() } else { self.path.clone() }
    }

    /// Gives the layer its place in the model: its name, the store of its parameters, the model's situation.
    pub(crate) fn settle(
        &mut self,
        path: &str,
        store: &AdapterStore,
        situation: &Situation,
    ) -> Result<(), TunerError> {
        path.clone_into(&mut self.path);
        self.store = Some(store.clone());
        let names: Vec<String> = self.adapters.keys().cloned().collect();
        for name in names {
            self.register(&name);
        }
        self.state = situation.state;
        self.mode = situation.mode;
        self.join(situation)
    }

    /// Takes the model's active adapters over; what is merged stays merged where they are the same.
    pub(crate) fn join(&mut self, situation: &Situation) -> Result<(), TunerError> {
        if self.active == situation.active {
            return self.apply_trainability();
        }
        let active: Vec<&str> = situation.active.iter().map(String::as_str).collect();
        self.activate(&active)
    }

    /// Makes the parameters of `adapter` known to the model's store.
    fn register(&self, adapter: &str) {
        if let (Some(store), Some(parameters)) = (&self.store, self.adapters.get(adapter)) {
            for (name, parameter) in parameters.parameters(adapter) {
                store.insert(&format!("{}.{name}", self.path), parameter);
            }
        }
    }

    /// Adds (or replaces) an adapter whose tensors exist already: this cannot fail.
    pub(crate) fn insert(&mut self, name: &str, adapter: LoraAdapter) {
        self.forget(name);
        self.adapters.insert(name.to_owned(), adapter);
        self.register(name);
    }

    /// Removes an adapter and its parameters from the model's store.
    pub(super) fn forget(&mut self, name: &str) {
        if let Some(adapter) = self.adapters.remove(name)
            && let Some(store) = &self.store
        {
            for (parameter, _) in adapter.parameters(name) {
                store.remove(&format!("{}.{parameter}", self.path));
            }
        }
    }

    /// A fresh adapter that fits this layer, not yet part of it.
    pub(crate) fn fresh_adapter(&self, name: &str, options: LoraOptions) -> Result<LoraAdapter, TunerError> {
        // A product of the layer's sizes has no greater rank than the smaller of them; a config that says more by far is
        // refused before its tensors are made.
        let most = MOST_RANK.max(self.base.in_features() + self.base.out_features());
        if !(1..=most).contains(&options.rank) {
            return Err(TunerError::Rank {
                layer: self.place(),
                adapter: name.to_owned(),
                rank: options.rank,
                most,
            });
        }
        if options.use_dora {
            return Err(TunerError::UnsupportedOption {
                layer: self.place(),
                option: "use_dora = true".to_owned(),
                hint: "set `use_dora` to false".to_owned(),
            });
        }
        LoraAdapter::fresh(options, self.base.in_features(), self.base.out_features(), self.base.device())
            .map_err(|source| self.torch("the adapter's initialisation", source))
    }

    pub(super) fn torch(&self, operation: &'static str, source: tch::TchError) -> TunerError {
        let source = LayerError::Torch { layer: self.kind_name.to_owned(), operation, source };
        TunerError::Layer { layer: self.place(), source }
    }

    pub(crate) fn store(&self) -> Option<&AdapterStore> {
        self.store.as_ref()
    }
}

impl LoraLayer for LoraLinear {
    fn lora(&self) -> &LoraLinear {
        self
    }

    fn lora_mut(&mut self) -> &mut LoraLinear {
        self
    }
}

impl fmt::Debug for LoraLinear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(base_layer={:?}, adapters={{", self.kind_name, self.base)?;
        for (index, (name, adapter)) in self.adapters.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{name}: r={} scaling={}", adapter.options.rank, adapter.scaling)?;
        }
        write!(f, "}}, active={:?}", self.active)?;
        if self.state == AdapterState::Disabled {
            write!(f, ", disabled")?;
        }
        if let Some(merged) = &self.merged {
            write!(f, ", merged={:?}", merged.names)?;
        }
        write!(f, ")")
    }
}
