//! The dense model of the life cycle: which adapters there are, with their values, and what each operation does to them.
//!
//! It knows no slots' internals and no files; it says what `qtuner_core::model` documents.

use crate::dense::{Adapter, Dense};
use std::collections::{BTreeMap, BTreeSet};

/// Why an operation is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No layer has an adapter of that name.
    Unknown,
    /// There is an adapter of that name.
    Exists,
    /// An adapter is merged, and must not be.
    Merged,
    /// The base takes no delta.
    MergeUnsupported,
    /// There is no such file.
    Missing,
}

/// An adapter with its initial scaling.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) values: Adapter,
    pub(super) initial_scaling: f64,
}

/// One layer.
pub(super) struct LayerState {
    pub(super) base: Dense,
    pub(super) adapters: BTreeMap<String, Held>,
    /// The merged adapters, in the order of merging.
    pub(super) merged: Vec<String>,
    /// Whether it ever had an adapter: it is a tuner layer then.
    pub(super) wrapped: bool,
}

/// The model.
pub(super) struct Reference {
    pub(super) layers: [LayerState; 2],
    pub(super) active: Vec<String>,
    pub(super) enabled: bool,
    pub(super) can_merge: bool,
    /// What was saved: for each folder, the layers that have the adapter.
    pub(super) files: BTreeMap<String, [Option<Held>; 2]>,
}

impl Reference {
    pub(super) fn names(&self) -> BTreeSet<String> {
        self.layers.iter().flat_map(|layer| layer.adapters.keys().cloned()).collect()
    }

    fn require_known(&self, names: &[&str]) -> Result<(), Refusal> {
        let known = self.names();
        if names.iter().all(|name| known.contains(*name)) { Ok(()) } else { Err(Refusal::Unknown) }
    }

    fn require_unmerged(&self) -> Result<(), Refusal> {
        if self.layers.iter().all(|layer| layer.merged.is_empty()) { Ok(()) } else { Err(Refusal::Merged) }
    }

    /// Whether an adapter of that name can be added.
    pub(super) fn check_add(&self, name: &str) -> Result<(), Refusal> {
        if self.names().contains(name) { Err(Refusal::Exists) } else { Ok(()) }
    }

    /// Adds an adapter to the layers that have values for it. The first of a model is active.
    pub(super) fn add(&mut self, name: &str, values: [Option<Held>; 2]) {
        if self.names().is_empty() {
            self.active = vec![name.to_owned()];
        }
        for (layer, held) in self.layers.iter_mut().zip(values) {
            if let Some(held) = held {
                layer.wrapped = true;
                layer.adapters.insert(name.to_owned(), held);
            }
        }
    }

    pub(super) fn activate(&mut self, names: &[&str]) -> Result<(), Refusal> {
        self.require_known(names)?;
        self.unmerge();
        self.active = names.iter().map(|name| (*name).to_owned()).collect();
        Ok(())
    }

    /// Enables or disables; without a tuner layer there is nothing to disable.
    pub(super) fn enable(&mut self, enabled: bool) {
        self.enabled = enabled || !self.layers.iter().any(|layer| layer.wrapped);
    }

    pub(super) fn set_scale(&mut self, name: &str, scale: f64) -> Result<(), Refusal> {
        self.require_known(&[name])?;
        self.rescale(&[name.to_owned()], |held| held.initial_scaling * scale)
    }

    pub(super) fn rescale_active(&mut self, rule: impl Fn(&Held) -> f64) -> Result<(), Refusal> {
        self.rescale(&self.active.clone(), rule)
    }

    fn rescale(&mut self, names: &[String], rule: impl Fn(&Held) -> f64) -> Result<(), Refusal> {
        self.require_unmerged()?;
        for layer in &mut self.layers {
            for (_, held) in layer.adapters.iter_mut().filter(|(name, _)| names.contains(name)) {
                held.values.scaling = rule(held);
            }
        }
        Ok(())
    }

    pub(super) fn merge(&mut self, names: Option<&[&str]>) -> Result<(), Refusal> {
        let names: Vec<String> = match names {
            Some(names) => names.iter().map(|name| (*name).to_owned()).collect(),
            None => self.active.clone(),
        };
        self.require_known(&names.iter().map(String::as_str).collect::<Vec<_>>())?;
        for layer in &mut self.layers {
            for name in &names {
                if layer.adapters.contains_key(name) && !layer.merged.contains(name) {
                    if !self.can_merge {
                        return Err(Refusal::MergeUnsupported);
                    }
                    layer.merged.push(name.clone());
                }
            }
        }
        Ok(())
    }

    pub(super) fn unmerge(&mut self) {
        self.layers.iter_mut().for_each(|layer| layer.merged.clear());
    }

    /// Removes an adapter; if it was the only active one, the alphabetically first becomes active, and is returned.
    pub(super) fn delete(&mut self, name: &str) -> Result<Option<String>, Refusal> {
        self.require_known(&[name])?;
        if self.layers.iter().any(|layer| layer.merged.iter().any(|merged| merged == name)) {
            return Err(Refusal::Merged);
        }
        for layer in &mut self.layers {
            layer.adapters.remove(name);
        }
        let was_active = self.active.iter().any(|active| active == name);
        self.active.retain(|active| active != name);
        if !was_active || !self.active.is_empty() {
            return Ok(None);
        }
        let next = self.names().into_iter().next();
        if let Some(next) = &next {
            self.activate(&[next])?;
        }
        Ok(next)
    }

    /// Keeps what a file of the adapter holds: values, and not the scaling of the moment.
    pub(super) fn save(&mut self, name: &str) -> Result<(), Refusal> {
        self.require_known(&[name])?;
        let saved = [0, 1].map(|index| self.layers[index].adapters.get(name).map(Held::initial));
        self.files.insert(name.to_owned(), saved);
        Ok(())
    }

    pub(super) fn load(&mut self, file: &str, name: &str) -> Result<(), Refusal> {
        let saved = self.files.get(file).ok_or(Refusal::Missing)?;
        let values = [0, 1].map(|index| saved[index].as_ref().map(Held::initial));
        self.check_add(name)?;
        self.add(name, values);
        Ok(())
    }
}

impl Held {
    /// The same values with the initial scaling.
    fn initial(&self) -> Self {
        let Adapter { a, b, rank, .. } = &self.values;
        let values = Adapter { a: a.copy(), b: b.copy(), rank: *rank, scaling: self.initial_scaling };
        Self { values, initial_scaling: self.initial_scaling }
    }
}
