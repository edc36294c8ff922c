//! What a walk over a module tree collects.

use super::ModulePath;
use crate::Slot;
use tch::Tensor;

/// The leaves of a model in field order, each with its name.
#[derive(Debug)]
pub struct LeafList<S, P> {
    /// The slots.
    pub slots: Vec<(ModulePath, S)>,
    /// Parameters outside of slots: norms, embeddings, free tensors.
    pub parameters: Vec<(ModulePath, P)>,
    /// Modules marked `#[module(head)]`.
    pub heads: Vec<ModulePath>,
}

/// Leaves to look at.
pub type Leaves<'m> = LeafList<&'m Slot, &'m Tensor>;

/// Leaves to change.
pub type LeavesMut<'m> = LeafList<&'m mut Slot, &'m mut Tensor>;

impl<S, P> Default for LeafList<S, P> {
    fn default() -> Self {
        Self { slots: Vec::new(), parameters: Vec::new(), heads: Vec::new() }
    }
}

impl<S, P> LeafList<S, P> {
    /// Adds a parameter outside of any slot.
    pub fn push_parameter(&mut self, path: &ModulePath, parameter: P) {
        self.parameters.push((path.clone(), parameter));
    }

    /// Marks the module at `path` as the model's output head.
    pub fn mark_head(&mut self, path: &ModulePath) {
        self.heads.push(path.clone());
    }
}

impl<'m> LeafList<&'m Slot, &'m Tensor> {
    /// Adds a slot.
    pub fn push_slot(&mut self, path: &ModulePath, slot: &'m Slot) {
        self.slots.push((path.clone(), slot));
    }
}

impl<'m> LeafList<&'m mut Slot, &'m mut Tensor> {
    /// Adds a slot and tells it its name.
    pub fn push_slot(&mut self, path: &ModulePath, slot: &'m mut Slot) {
        slot.set_path(path.as_str());
        self.slots.push((path.clone(), slot));
    }
}
