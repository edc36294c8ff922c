//! What the model and the reference agree on after every operation.

use super::machine::Machine;
use super::reference::LayerState;
use crate::adapted::output;
use crate::bytes::same_values;
use crate::dense::{Adapter, Dense, merge_storage};
use crate::run::{Broken, Verdict, ensure};
use qtuner_core::{BaseTunerLayer, model};
use std::collections::BTreeSet;

impl Machine {
    /// Compares everything that can be seen of the model.
    pub(super) fn agrees(&self) -> Verdict {
        let names: Vec<String> = self.reference.names().into_iter().collect();
        let found = model::adapter_names(&self.model);
        ensure!(found == names, "the adapters are {found:?}, expected {names:?}");
        let found = model::active_adapters(&self.model);
        ensure!(found == self.reference.active, "active are {found:?}, expected {:?}", self.reference.active);
        for (index, path) in ["left", "right"].into_iter().enumerate() {
            self.layer_agrees(index).map_err(|broken| broken.during(path))?;
        }
        self.store_agrees()
    }

    fn layer_agrees(&self, index: usize) -> Verdict {
        let state = &self.reference.layers[index];
        let layer = self.model.slots()[index].layer();
        let (tensors, base_output) = &self.bases[index];
        let difference = tensors.difference(layer.innermost());
        ensure!(difference.is_none(), "the base changed: {}", difference.unwrap_or_default());
        let y = output(layer, &self.x)?;
        match layer.as_tuner() {
            None => ensure!(!state.wrapped, "the slot holds no tuner layer, expected one"),
            Some(tuner) => self.tuner_agrees(tuner, state)?,
        }
        if !state.wrapped || !self.reference.enabled {
            ensure!(same_values(&y, base_output), "the output is not the base's, expected it bit for bit");
            return Ok(());
        }
        let adapters = |names: &[String]| -> Vec<&Adapter> {
            names.iter().filter_map(|name| state.adapters.get(name)).map(|held| &held.values).collect()
        };
        let storage = merge_storage(layer, self.x.kind());
        let base = match &state.merged[..] {
            [] => state.base.forward(&self.x),
            merged => state.base.merged(&adapters(merged), storage).forward(&self.x),
        };
        let unmerged: Vec<String> =
            self.reference.active.iter().filter(|name| !state.merged.contains(name)).cloned().collect();
        Dense::adapted(base, &adapters(&unmerged), &self.x).holds("the output", &y)
    }

    fn tuner_agrees(&self, tuner: &dyn BaseTunerLayer, state: &LayerState) -> Verdict {
        let active = &self.reference.active;
        ensure!(
            tuner.active_adapters() == active,
            "active are {:?}, expected {active:?}",
            tuner.active_adapters()
        );
        ensure!(
            tuner.merged_adapters() == state.merged,
            "merged are {:?}, expected {:?}",
            tuner.merged_adapters(),
            state.merged
        );
        let lora = tuner.as_lora().ok_or_else(|| Broken::new("the tuner layer is no LoRA layer"))?;
        for (name, held) in &state.adapters {
            let (found, expected) = (lora.scaling(name), held.values.scaling);
            let close = found.is_some_and(|found| (found - expected).abs() <= 1e-12 * expected.abs());
            ensure!(close, "the scaling of \"{name}\" is {found:?}, expected {expected}");
        }
        for (parameter, tensor) in tuner.adapter_parameters() {
            let adapter = parameter.split('.').nth(1).unwrap_or_default();
            let trains = self.reference.enabled && active.iter().any(|name| name == adapter);
            ensure!(
                tensor.requires_grad() == trains,
                "`{parameter}` has requires_grad = {}, expected {trains}",
                tensor.requires_grad()
            );
        }
        Ok(())
    }

    /// The `VarStore` holds the parameters of every adapter, and nothing else.
    fn store_agrees(&self) -> Verdict {
        let mut expected = BTreeSet::new();
        for (path, layer) in ["left", "right"].into_iter().zip(&self.reference.layers) {
            for name in layer.adapters.keys() {
                expected.extend(["A", "B"].map(|matrix| format!("{path}.lora_{matrix}.{name}.weight")));
            }
        }
        let store = model::var_store(&self.model);
        let found: BTreeSet<String> =
            store.map(|store| store.variables().into_keys().collect()).unwrap_or_default();
        ensure!(found == expected, "the VarStore holds {found:?}, expected {expected:?}");
        Ok(())
    }
}
