//! Module trees that need no derive: leaves, containers of trees, and the layers of `tch::nn` that hold parameters.

use super::{Leaves, LeavesMut, ModulePath, ModuleTree};
use crate::Slot;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::hash::{BuildHasher, Hash};
use tch::Tensor;
use tch::nn;

impl ModuleTree for Slot {
    fn leaves<'m>(&'m self, path: &ModulePath, leaves: &mut Leaves<'m>) {
        leaves.push_slot(path, self);
    }

    fn leaves_mut<'m>(&'m mut self, path: &ModulePath, leaves: &mut LeavesMut<'m>) {
        leaves.push_slot(path, self);
    }
}

impl ModuleTree for Tensor {
    fn leaves<'m>(&'m self, path: &ModulePath, leaves: &mut Leaves<'m>) {
        leaves.push_parameter(path, self);
    }

    fn leaves_mut<'m>(&'m mut self, path: &ModulePath, leaves: &mut LeavesMut<'m>) {
        leaves.push_parameter(path, self);
    }
}

impl<T: ModuleTree + ?Sized> ModuleTree for Box<T> {
    fn leaves<'m>(&'m self, path: &ModulePath, leaves: &mut Leaves<'m>) {
        (**self).leaves(path, leaves);
    }

    fn leaves_mut<'m>(&'m mut self, path: &ModulePath, leaves: &mut LeavesMut<'m>) {
        (**self).leaves_mut(path, leaves);
    }
}

impl<T: ModuleTree> ModuleTree for Option<T> {
    fn leaves<'m>(&'m self, path: &ModulePath, leaves: &mut Leaves<'m>) {
        if let Some(tree) = self {
            tree.leaves(path, leaves);
        }
    }

    fn leaves_mut<'m>(&'m mut self, path: &ModulePath, leaves: &mut LeavesMut<'m>) {
        if let Some(tree) = self {
            tree.leaves_mut(path, leaves);
        }
    }
}

impl<T: ModuleTree> ModuleTree for [T] {
    fn leaves<'m>(&'m self, path: &ModulePath, leaves: &mut Leaves<'m>) {
        for (index, tree) in self.iter().enumerate() {
            tree.leaves(&path.child(index), leaves);
        }
    }

    fn leaves_mut<'m>(&'m mut self, path: &ModulePath, leaves: &mut LeavesMut<'m>) {
        for (index, tree) in self.iter_mut().enumerate() {
            tree.leaves_mut(&path.child(index), leaves);
        }
    }
}

impl<T: ModuleTree> ModuleTree for Vec<T> {
    fn leaves<'m>(&'m self, path: &ModulePath, leaves: &mut Leaves<'m>) {
        self.as_slice().leaves(path, leaves);
    }

    fn leaves_mut<'m>(&'m mut self, path: &ModulePath, leaves: &mut LeavesMut<'m>) {
        self.as_mut_slice().leaves_mut(path, leaves);
    }
}

impl<T: ModuleTree, const N: usize> ModuleTree for [T; N] {
    fn leaves<'m>(&'m self, path: &ModulePath, leaves: &mut Leaves<'m>) {
        self.as_slice().leaves(path, leaves);
    }

    fn leaves_mut<'m>(&'m mut self, path: &ModulePath, leaves: &mut LeavesMut<'m>) {
        self.as_mut_slice().leaves_mut(path, leaves);
    }
}

impl<K: Display, T: ModuleTree> ModuleTree for BTreeMap<K, T> {
    fn leaves<'m>(&'m self, path: &ModulePath, leaves: &mut Leaves<'m>) {
        for (key, tree) in self {
            tree.leaves(&path.child(key), leaves);
        }
    }

    fn leaves_mut<'m>(&'m mut self, path: &ModulePath, leaves: &mut LeavesMut<'m>) {
        for (key, tree) in self {
            tree.leaves_mut(&path.child(key), leaves);
        }
    }
}

/// Visited in the order of the keys: a hash map's own order differs from run to run.
impl<K: Display + Ord + Hash, T: ModuleTree, H: BuildHasher> ModuleTree for HashMap<K, T, H> {
    fn leaves<'m>(&'m self, path: &ModulePath, leaves: &mut Leaves<'m>) {
        for (key, tree) in self.iter().collect::<BTreeMap<_, _>>() {
            tree.leaves(&path.child(key), leaves);
        }
    }

    fn leaves_mut<'m>(&'m mut self, path: &ModulePath, leaves: &mut LeavesMut<'m>) {
        for (key, tree) in self.iter_mut().collect::<BTreeMap<_, _>>() {
            tree.leaves_mut(&path.child(key), leaves);
        }
    }
}

impl ModuleTree for nn::Embedding {
    fn leaves<'m>(&'m self, path: &ModulePath, leaves: &mut Leaves<'m>) {
        leaves.push_parameter(&path.child("weight"), &self.ws);
    }

    fn leaves_mut<'m>(&'m mut self, path: &ModulePath, leaves: &mut LeavesMut<'m>) {
        leaves.push_parameter(&path.child("weight"), &mut self.ws);
    }
}

impl ModuleTree for nn::LayerNorm {
    fn leaves<'m>(&'m self, path: &ModulePath, leaves: &mut Leaves<'m>) {
        self.ws.leaves(&path.child("weight"), leaves);
        self.bs.leaves(&path.child("bias"), leaves);
    }

    fn leaves_mut<'m>(&'m mut self, path: &ModulePath, leaves: &mut LeavesMut<'m>) {
        self.ws.leaves_mut(&path.child("weight"), leaves);
        self.bs.leaves_mut(&path.child("bias"), leaves);
    }
}
