//! Putting adapters into a model: either whole or not at all.
//!
//! Two phases. *Plan* walks the tree, matches names by PEFT's rules, asks the registry about every match, collects every
//! problem, and makes every new wrapper and adapter beside the model. *Apply* only swaps boxes: it cannot fail. On an error
//! the model is bit for bit what it was.

mod apply;
mod census;
mod error;
mod plan;
mod report;

pub use error::{InjectError, Problem};
pub use report::{AdaptedLayer, InjectReport};

use crate::config::LoraConfig;
use crate::{AdapterStore, ModuleTree, Registry};
use tch::nn::VarStore;

pub(crate) use apply::{apply, count};
pub(crate) use census::Census;
pub(crate) use plan::{Plan, plan};

/// Gives every layer of `model` that `config` targets an adapter called `adapter_name`, using the backends linked in.
///
/// The first adapter of a model is active and trains; further ones wait for
/// [`set_adapter`](crate::model::set_adapter). All parameters but the active adapters' (and the biases that `bias` names)
/// are frozen. See [`Injection`] for a registry or a `VarStore` of your own.
///
/// ```
/// use qtuner_core::{inject_adapter, Linear, LoraConfig, ModuleTree, Slot};
/// use tch::nn::{self, OptimizerConfig};
/// use tch::{Device, Kind, Tensor};
///
/// #[derive(ModuleTree)]
/// struct Model {
///     up_proj: Slot,
///     down_proj: Slot,
/// }
///
/// # fn slot(out: i64, input: i64) -> Slot {
/// #     Linear::new(Tensor::randn([out, input], (Kind::Float, Device::Cpu)), None).unwrap().into()
/// # }
/// let mut model = Model { up_proj: slot(16, 8), down_proj: slot(8, 16) };
/// let report = inject_adapter(&mut model, &LoraConfig::new(["up_proj"]).with_rank(4), "default")?;
/// println!("{report}");
/// assert_eq!(report.trainable, 4 * (8 + 16));
///
/// let mut optimizer = nn::AdamW::default().build(&report.var_store(), 1e-3)?;
/// let x = Tensor::randn([2, 8], (Kind::Float, Device::Cpu));
/// let loss = model.down_proj.forward(&model.up_proj.forward(&x)?)?.square().mean(Kind::Float);
/// optimizer.backward_step(&loss);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`InjectError`] with every problem that was found; the model is unchanged then.
pub fn inject_adapter(
    model: &mut impl ModuleTree,
    config: &LoraConfig,
    adapter_name: &str,
) -> Result<InjectReport, InjectError> {
    Injection::new().inject(model, config, adapter_name)
}

/// An injection with something other than the defaults.
///
/// ```
/// use qtuner_core::{dense, Injection, Registry};
/// use tch::{nn::VarStore, Device};
///
/// let registry = Registry::new([dense::DISPATCHER])?;
/// let vs = VarStore::new(Device::Cpu);
/// let injection = Injection::new().registry(&registry).var_store(&vs).model_type("llama");
/// # Ok::<(), qtuner_core::RegistryError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Injection<'a> {
    pub(crate) registry: Option<&'a Registry>,
    pub(crate) store: Option<AdapterStore>,
    pub(crate) model_type: Option<&'a str>,
}

impl<'a> Injection<'a> {
    /// The linked registry, a `VarStore` of the injection's own, no model type.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks this registry instead of the linked one.
    #[must_use]
    pub fn registry(self, registry: &'a Registry) -> Self {
        Self { registry: Some(registry), ..self }
    }

    /// Puts the parameters into this `VarStore`. A model that has adapters already keeps the store that they are in.
    #[must_use]
    pub fn var_store(self, var_store: &VarStore) -> Self {
        Self { store: Some(AdapterStore::of(var_store)), ..self }
    }

    /// The model's type as its `config.json` says it, for configs without `target_modules`.
    #[must_use]
    pub fn model_type(self, model_type: &'a str) -> Self {
        Self { model_type: Some(model_type), ..self }
    }

    /// Runs the injection; see [`inject_adapter`].
    ///
    /// # Errors
    /// [`InjectError`] with every problem that was found; the model is unchanged then.
    pub fn inject(
        &self,
        model: &mut impl ModuleTree,
        config: &LoraConfig,
        adapter_name: &str,
    ) -> Result<InjectReport, InjectError> {
        let plan = plan(self, &model.collect_leaves(), config, adapter_name)?.trainable()?;
        for warning in &plan.warnings {
            tracing::warn!("{warning}");
        }
        Ok(apply(model, plan))
    }
}
