//! The `VarStore` that a model's adapter parameters live in.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tch::nn::{VarStore, Variables};
use tch::{Device, Kind, Tensor};

/// A shared handle on the variables of a `tch::nn::VarStore`.
///
/// All tuner layers of a model hold one handle, so that `tch`'s own optimizers train the adapters: build them on
/// [`var_store`](Self::var_store). Names are the parameter's in the model: `model.layers.0.self_attn.q_proj.lora_A.default.weight`.
///
/// ```
/// use qtuner_core::AdapterStore;
/// use tch::nn::{self, OptimizerConfig};
///
/// let store = AdapterStore::new(tch::Device::Cpu);
/// store.insert("up.lora_A.default.weight", &tch::Tensor::zeros([4, 8], (tch::Kind::Float, tch::Device::Cpu)));
/// let optimizer = nn::AdamW::default().build(&store.var_store(), 1e-3)?;
/// assert_eq!(optimizer.trainable_variables().len(), 1);
/// # Ok::<(), tch::TchError>(())
/// ```
#[derive(Debug, Clone)]
pub struct AdapterStore {
    variables: Arc<Mutex<Variables>>,
    device: Device,
}

impl AdapterStore {
    /// An empty store for parameters on `device`.
    pub fn new(device: Device) -> Self {
        Self::of(&VarStore::new(device))
    }

    /// A handle on the variables of `var_store`, which may hold other parameters too.
    pub fn of(var_store: &VarStore) -> Self {
        Self { variables: Arc::clone(&var_store.variables_), device: var_store.device() }
    }

    /// The same variables as a `VarStore`. Parameters of adapters that are added later appear in it, too, and an optimizer that was
    /// built on it before trains them; it keeps those that were [removed](Self::remove) alive.
    pub fn var_store(&self) -> VarStore {
        let mut store = VarStore::new(self.device);
        store.variables_ = Arc::clone(&self.variables);
        store
    }

    /// Puts a parameter in, under its dotted name in the model; one of that name is replaced. It requires a gradient then.
    pub fn insert(&self, name: &str, parameter: &Tensor) {
        self.remove(name);
        let store = self.var_store();
        let (module, leaf) = name.rsplit_once('.').unwrap_or(("", name));
        // tch joins the segments of a path with dots and takes none within a segment.
        let segments = module.split('.').filter(|segment| !segment.is_empty());
        let path = segments.fold(store.root(), |path, segment| path.sub(segment));
        let _ = path.add(leaf, parameter.shallow_clone(), true);
    }

    /// Puts a parameter in that may be there already, under whatever name.
    pub(crate) fn insert_once(&self, name: &str, parameter: &Tensor) {
        let is_there =
            self.lock().trainable_variables.iter().any(|var| var.tensor.data_ptr() == parameter.data_ptr());
        if !is_there {
            self.insert(name, parameter);
        }
    }

    /// Takes a parameter out; absent is fine. Its place among the trainable variables stays, with an empty tensor in it.
    pub fn remove(&self, name: &str) {
        let mut variables = self.lock();
        if let Some(removed) = variables.named_variables.remove(name) {
            let address = removed.data_ptr();
            // An optimizer of tch tells what is new to it by the length of the list alone.
            for var in variables.trainable_variables.iter_mut().filter(|var| var.tensor.data_ptr() == address)
            {
                var.tensor = Tensor::zeros([0], (Kind::Float, self.device));
            }
        }
    }

    /// The lock's holder only moves handles around, so a panic elsewhere leaves the variables whole.
    fn lock(&self) -> MutexGuard<'_, Variables> {
        self.variables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
