//! The tuner layer's life cycle: which adapters are there, which contribute, which train.

use super::linear::Merged;
use super::{LoraAdapter, LoraLayer, LoraLinear, Trainability};
use crate::{AdapterState, BaseTunerLayer, Layer, MergeCheck, Mode, TunerError};
use tch::Tensor;

impl LoraLinear {
    /// Sets `requires_grad` on every adapter parameter: true for the active ones that are not frozen, unless adapters are
    /// disabled.
    pub(crate) fn apply_trainability(&mut self) -> Result<(), TunerError> {
        for (name, adapter) in &self.adapters {
            let trains = self.state == AdapterState::Enabled
                && self.active.contains(name)
                && adapter.trainability == Trainability::Trainable;
            for (_, parameter) in adapter.parameters(name) {
                let _ = parameter
                    .f_set_requires_grad(trains)
                    .map_err(|source| self.torch("setting requires_grad", source))?;
            }
        }
        Ok(())
    }

    /// Makes `names` the active adapters, each as trainable as it is.
    pub(crate) fn activate(&mut self, names: &[&str]) -> Result<(), TunerError> {
        self.merged = None;
        self.active.clear();
        for name in names {
            if !self.active.iter().any(|active| active == name) {
                self.active.push((*name).to_owned());
            }
        }
        self.apply_trainability()
    }

    /// Keeps an adapter from training until [`set_adapter`](BaseTunerLayer::set_adapter) names it.
    pub(crate) fn freeze(&mut self, name: &str) -> Result<(), TunerError> {
        if let Some(adapter) = self.adapters.get_mut(name) {
            adapter.trainability = Trainability::Frozen;
        }
        self.apply_trainability()
    }

    pub(super) fn refuse_merged(&self, name: &str) -> Result<(), TunerError> {
        if self.merged_names().iter().any(|merged| merged == name) {
            return Err(TunerError::Merged { layer: self.place(), adapter: name.to_owned() });
        }
        Ok(())
    }

    pub(super) fn merged_names(&self) -> &[String] {
        self.merged.as_ref().map_or(&[], |merged| &merged.names)
    }

    /// Changes the scaling of `names` to `rule(initial, now)`; of all of them or, on an error, of none.
    pub(super) fn rescale(
        &mut self,
        names: &[&str],
        scale: f64,
        rule: impl Fn(f64, f64) -> f64,
    ) -> Result<(), TunerError> {
        if !scale.is_finite() {
            return Err(TunerError::Scale { scale, expected: "" });
        }
        for name in names {
            self.refuse_merged(name)?;
        }
        for name in names {
            if let Some(adapter) = self.adapters.get_mut(*name) {
                adapter.scaling = rule(adapter.options.scaling(), adapter.scaling);
            }
        }
        Ok(())
    }

    pub(super) fn rescale_active(
        &mut self,
        scale: f64,
        rule: impl Fn(f64, f64) -> f64,
    ) -> Result<(), TunerError> {
        let active = self.active.clone();
        let names: Vec<&str> = active.iter().map(String::as_str).collect();
        self.rescale(&names, scale, rule)
    }

    /// Every adapter's scaling now.
    pub(crate) fn scalings(&self) -> Vec<(String, f64)> {
        self.adapters.iter().map(|(name, adapter)| (name.clone(), adapter.scaling)).collect()
    }

    /// Puts scalings back that [`scalings`](Self::scalings) gave.
    pub(crate) fn restore_scalings(&mut self, scalings: &[(String, f64)]) {
        for (name, scaling) in scalings {
            if let Some(adapter) = self.adapters.get_mut(name) {
                adapter.scaling = *scaling;
            }
        }
    }

    /// A second handle on the same tensors, with the same state.
    pub(super) fn second_handle(&self) -> Self {
        Self {
            kind_name: self.kind_name,
            path: self.path.clone(),
            base: self.base.shallow_clone(),
            adapters: self
                .adapters
                .iter()
                .map(|(name, adapter)| (name.clone(), adapter.shallow_clone()))
                .collect(),
            active: self.active.clone(),
            state: self.state,
            mode: self.mode,
            merged: self
                .merged
                .as_ref()
                .map(|merged| Merged { names: merged.names.clone(), layer: merged.layer.shallow_clone() }),
            store: self.store.clone(),
        }
    }
}

impl<T: LoraLayer> BaseTunerLayer for T {
    fn base_layer(&self) -> &dyn Layer {
        &*self.lora().base
    }

    fn adapter_names(&self) -> Vec<String> {
        self.lora().adapters.keys().cloned().collect()
    }

    fn active_adapters(&self) -> &[String] {
        &self.lora().active
    }

    fn set_adapter(&mut self, names: &[&str]) -> Result<(), TunerError> {
        let lora = self.lora_mut();
        for name in names {
            if let Some(adapter) = lora.adapters.get_mut(*name) {
                adapter.trainability = Trainability::Trainable;
            }
        }
        lora.activate(names)
    }

    fn adapter_state(&self) -> AdapterState {
        self.lora().state
    }

    fn set_adapter_state(&mut self, state: AdapterState) -> Result<(), TunerError> {
        let lora = self.lora_mut();
        lora.state = state;
        lora.apply_trainability()
    }

    fn delete_adapter(&mut self, name: &str) -> Result<Option<String>, TunerError> {
        let lora = self.lora_mut();
        lora.refuse_merged(name)?;
        lora.forget(name);
        let was_active = lora.active.iter().any(|active| active == name);
        lora.active.retain(|active| active != name);
        if !was_active || !lora.active.is_empty() {
            return Ok(None);
        }
        let next = lora.adapters.keys().next().cloned();
        lora.active.extend(next.clone());
        lora.apply_trainability()?;
        Ok(next)
    }

    fn merged_adapters(&self) -> &[String] {
        self.lora().merged_names()
    }

    fn merge(&mut self, names: &[&str], check: MergeCheck) -> Result<(), TunerError> {
        let lora = self.lora_mut();
        if let Some(merged) = lora.merged_with(names, check)? {
            lora.merged = Some(merged);
        }
        Ok(())
    }

    fn check_merge(&self, names: &[&str], check: MergeCheck) -> Result<(), TunerError> {
        self.lora().merged_with(names, check).map(|_| ())
    }

    fn unmerge(&mut self) {
        self.lora_mut().merged = None;
    }

    fn unwrapped(&self) -> Box<dyn Layer> {
        let lora = self.lora();
        lora.merged.as_ref().map_or_else(|| lora.base.shallow_clone(), |merged| merged.layer.shallow_clone())
    }

    fn mode(&self) -> Mode {
        self.lora().mode
    }

    fn set_mode(&mut self, mode: Mode) {
        self.lora_mut().mode = mode;
    }

    fn adapter_parameters(&self) -> Vec<(String, Tensor)> {
        let of = |(name, adapter): (&String, &LoraAdapter)| {
            let parameters = adapter.parameters(name).into_iter();
            parameters.map(|(name, tensor)| (name, tensor.shallow_clone())).collect::<Vec<_>>()
        };
        let mut parameters: Vec<_> = self.lora().adapters.iter().flat_map(of).collect();
        parameters.sort_by(|(left, _), (right, _)| left.cmp(right));
        parameters
    }
}
