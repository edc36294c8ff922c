//! The heart of qtuner: layers and slots, the registry of backends, LoRA, injection and adapter files. It knows no backend
//! but dense layers.
//!
//! - A model puts its linear layers into [`Slot`]s and derives [`ModuleTree`].
//! - [`inject_adapter`] gives the targeted layers an adapter; whichever backends are linked in take the layers they know.
//! - [`model`] holds the life cycle: more adapters, switching, merging, scaling.
//! - [`save_adapter`] and [`load_adapter`] speak PEFT's files.
//! - A backend implements [`Layer`] and [`QuantBackend`], and registers a [`Dispatcher`].

pub mod adapter_file;
mod atomic;
pub mod autograd;
mod backend;
pub mod config;
pub mod dense;
mod extension;
mod inject;
mod layer;
mod lora;
pub mod model;
pub mod registry;
mod slot;
mod store;
pub mod tree;
mod tuner;

pub use adapter_file::{
    AdapterFileError, LoadReport, Trainability, load_adapter, load_adapter_with, save_adapter, save_adapters,
};
pub use backend::{Capabilities, Package, QuantBackend, Support};
pub use config::*;
pub use inject::{AdaptedLayer, InjectError, InjectReport, Injection, Problem, inject_adapter};
pub use layer::{Layer, LayerError, Linear, MergeDelta};
pub use lora::{LoraAdapter, LoraLayer, LoraLinear, LoraOptions};
pub use qtuner_derive::ModuleTree;
pub use registry::{DispatchError, Dispatcher, LayerSource, LoadError, Registry, RegistryError};
pub use slot::Slot;
pub use store::AdapterStore;
pub use tree::{Leaves, LeavesMut, ModulePath, ModuleTree};
pub use tuner::{AdapterState, BaseTunerLayer, MergeCheck, Mode, TunerError};

pub use {inventory, tch};
