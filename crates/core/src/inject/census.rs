//! What a model consists of, and what it holds of adapters: looked at once, before anything is planned.

use crate::config::{Bias, LoraConfig, ModuleKind};
use crate::lora::Situation;
use crate::tree::Leaves;
use crate::{AdapterStore, LoraLayer, Slot, Trainability};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tch::Device;

/// Names of output heads, for models that mark none with `#[module(head)]`: those of Hugging Face's language models.
const HEADS: [&str; 2] = ["lm_head", "embed_out"];

/// Names of classifier heads, asked for when a sequence classifier has no output head.
const CLASSIFIERS: [&str; 2] = ["score", "classifier"];

/// The modules of a model and the adapters in it.
pub(crate) struct Census {
    /// Every module that can be told from the leaves, in tree order: slots, holders of parameters, and their parents.
    pub(crate) modules: Vec<(String, ModuleKind)>,
    /// Slots' names, in tree order, that occur twice.
    pub(crate) duplicates: Vec<String>,
    /// The adapters of the model and their configs.
    pub(crate) adapters: BTreeMap<String, Arc<LoraConfig>>,
    /// Those that do not train even when they are active.
    pub(crate) frozen: BTreeSet<String>,
    /// What the model's tuner layers have in common, if there are any.
    pub(crate) situation: Option<Situation>,
    /// The store of the adapters that the model has.
    pub(crate) store: Option<AdapterStore>,
    /// Where the first slot is.
    pub(crate) device: Device,
}

impl Census {
    pub(crate) fn of(leaves: &Leaves<'_>, config: &LoraConfig) -> Self {
        let lora = || leaves.slots.iter().filter_map(|(_, slot)| slot.layer().as_lora());
        let (mut adapters, mut frozen) = (BTreeMap::new(), BTreeSet::new());
        for layer in lora() {
            for name in layer.adapter_names() {
                if let Some(adapter) = layer.lora().adapter(&name) {
                    if adapter.trainability() == Trainability::Frozen {
                        frozen.insert(name.clone());
                    }
                    adapters.entry(name).or_insert_with(|| Arc::clone(&adapter.options().config));
                }
            }
        }
        let mut seen = BTreeSet::new();
        Self {
            modules: modules(leaves, config),
            duplicates: leaves
                .slots
                .iter()
                .map(|(path, _)| path.to_string())
                .filter(|path| !seen.insert(path.clone()))
                .collect(),
            situation: lora().next().map(|layer| Situation {
                active: layer.active_adapters().to_vec(),
                state: layer.adapter_state(),
                mode: layer.mode(),
            }),
            store: lora().find_map(|layer| LoraLayer::lora(layer).store().cloned()),
            device: leaves.slots.first().map_or(Device::Cpu, |(_, slot)| slot.layer().device()),
            adapters,
            frozen,
        }
    }

    /// An adapter of the model that trains biases: there may be only one such.
    pub(crate) fn bias_trainer(&self) -> Option<(&str, &LoraConfig)> {
        let mut adapters = self.adapters.iter().map(|(name, config)| (name.as_str(), &**config));
        adapters.find(|(_, config)| config.bias != Bias::None)
    }
}

fn modules(leaves: &Leaves<'_>, config: &LoraConfig) -> Vec<(String, ModuleKind)> {
    let heads = heads(leaves, config);
    let mut modules: Vec<(String, ModuleKind)> = Vec::new();
    let mut seen = BTreeSet::new();
    let mut push = |name: &str, kind| {
        if seen.insert(name.to_owned()) {
            modules.push((name.to_owned(), kind));
        }
    };
    for (path, _) in &leaves.slots {
        let kind = if heads.contains(path.as_str()) { ModuleKind::Head } else { ModuleKind::Linear };
        push(path.as_str(), kind);
    }
    let owners = leaves.parameters.iter().filter_map(|(path, _)| parent(path.as_str()));
    let inner = leaves.slots.iter().filter_map(|(path, _)| parent(path.as_str()));
    for name in owners.chain(inner) {
        for name in std::iter::successors(Some(name), |name| parent(name)) {
            push(name, ModuleKind::Other);
        }
    }
    modules
}

fn parent(path: &str) -> Option<&str> {
    path.rsplit_once('.').map(|(parent, _)| parent)
}

fn heads(leaves: &Leaves<'_>, config: &LoraConfig) -> BTreeSet<String> {
    if !leaves.heads.is_empty() {
        return leaves.heads.iter().map(ToString::to_string).collect();
    }
    let named = |names: &[&str]| -> BTreeSet<String> {
        let is_named = |slot: &&(crate::ModulePath, &Slot)| {
            let path = slot.0.as_str();
            names.contains(&path.rsplit('.').next().unwrap_or(path))
        };
        leaves.slots.iter().filter(is_named).map(|(path, _)| path.to_string()).collect()
    };
    let heads = named(&HEADS);
    let classifies = config.task_type.is_some_and(|task| task.as_str() == "SEQ_CLS");
    if heads.is_empty() && classifies { named(&CLASSIFIERS) } else { heads }
}
