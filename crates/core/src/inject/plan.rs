//! The first phase: everything that can fail, beside the model.

use super::{Census, InjectError, Injection, Problem};
use crate::config::{Bias, LoraConfig, Survey, TargetMatcher};
use crate::lora::{LoraAdapter, LoraOptions, Situation};
use crate::registry::DispatchError;
use crate::tree::Leaves;
use crate::{AdapterState, AdapterStore, LoraLayer, Mode, Registry, Slot, Support};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tch::Tensor;

/// All that an injection will do, made and checked.
pub(crate) struct Plan {
    pub(crate) adapter_name: String,
    pub(crate) config: Arc<LoraConfig>,
    /// What each targeted slot gets, by the slot's name.
    pub(crate) changes: BTreeMap<String, Change>,
    pub(crate) store: AdapterStore,
    /// What all tuner layers of the model will have in common.
    pub(crate) situation: Situation,
    /// Names of the parameters outside of adapters that train because of this adapter's `bias`.
    pub(crate) own_biases: BTreeSet<String>,
    /// Those, and the ones that train because of an adapter that the model has already.
    pub(crate) trained_biases: BTreeSet<String>,
    pub(crate) survey: Survey,
    pub(crate) warnings: Vec<String>,
    /// Layers that pass no gradient to their input; see [`Plan::trainable`].
    cut_off: Vec<Problem>,
}

impl Plan {
    /// The plan, if its adapter can be trained.
    pub(crate) fn trainable(self) -> Result<Self, InjectError> {
        if self.cut_off.is_empty() { Ok(self) } else { Err(InjectError::Layers { problems: self.cut_off }) }
    }
}

/// What one slot gets.
pub(crate) enum Change {
    /// A wrapper in place of its layer.
    Wrap { wrapper: Box<dyn LoraLayer>, backend: &'static str },
    /// One more adapter on the wrapper that is there.
    Add { adapter: LoraAdapter, backend: &'static str },
}

impl Change {
    /// The new adapter, whose tensors are not part of the model yet.
    pub(crate) fn adapter(&self, name: &str) -> Option<&LoraAdapter> {
        match self {
            Self::Wrap { wrapper, .. } => wrapper.lora().adapter(name),
            Self::Add { adapter, .. } => Some(adapter),
        }
    }
}

/// Plans the injection of `config` as `adapter_name`, without touching the model.
pub(crate) fn plan(
    injection: &Injection<'_>,
    leaves: &Leaves<'_>,
    config: &LoraConfig,
    adapter_name: &str,
) -> Result<Plan, InjectError> {
    let registry = match injection.registry {
        Some(registry) => registry,
        None => Registry::linked()?,
    };
    let census = Census::of(leaves, config);
    check_name(adapter_name, &census)?;
    config.validate()?;
    if let (Some((first, _)), true) = (census.bias_trainer(), config.bias != Bias::None) {
        return Err(InjectError::SecondBias { first: first.to_owned(), second: adapter_name.to_owned() });
    }

    let resolved = config.resolve_targets(&census.modules, injection.model_type)?;
    let matcher = TargetMatcher::new(&resolved)?;
    let survey = matcher.survey(census.modules.iter().map(|(name, _)| name.as_str()))?;
    let mut warnings: Vec<String> = config.warnings().iter().map(ToString::to_string).collect();
    let outcome = matcher.check_outcome(survey.matched.len(), survey.excluded.len(), survey.total)?;
    warnings.extend(outcome.iter().map(ToString::to_string));
    if "lora_".contains(adapter_name) {
        warnings.push(format!(
            "adapter name \"{adapter_name}\" is a part of \"lora_\"; other readers may confuse it"
        ));
    }

    let resolved = Arc::new(resolved);
    let targets = Targets { registry, leaves, config: &resolved, matcher: &matcher, adapter_name };
    let checked = targets.check(&survey)?;
    let changes = targets.make(checked)?;
    let own_biases = trained_biases(leaves, resolved.bias, |path, _| changes.contains_key(path));
    let mut trained_biases = own_biases.clone();
    if let Some((name, config)) = census.bias_trainer().filter(|(name, _)| !census.frozen.contains(*name)) {
        trained_biases.extend(self::trained_biases(leaves, config.bias, |_, slot| has_adapter(slot, name)));
    }
    let first = census.adapters.is_empty().then(|| vec![adapter_name.to_owned()]);
    let found = census.situation.clone();
    let found =
        found.unwrap_or(Situation { active: Vec::new(), state: AdapterState::Enabled, mode: Mode::Train });
    let situation = Situation { active: first.unwrap_or(found.active), ..found };
    let store = census.store.or_else(|| injection.store.clone());
    Ok(Plan {
        adapter_name: adapter_name.to_owned(),
        config: Arc::clone(&resolved),
        changes,
        store: store.unwrap_or_else(|| AdapterStore::new(census.device)),
        situation,
        own_biases,
        trained_biases,
        survey,
        warnings,
        cut_off: cut_off(leaves),
    })
}

fn check_name(name: &str, census: &Census) -> Result<(), InjectError> {
    let usable = !name.trim().is_empty()
        && name.len() <= 128
        && !name.contains(|c: char| matches!(c, '.' | '/' | '\\') || c.is_control());
    if !usable {
        return Err(InjectError::AdapterName { name: name.to_owned() });
    }
    if census.adapters.contains_key(name) {
        return Err(InjectError::AdapterExists { name: name.to_owned() });
    }
    if let Some(path) = census.duplicates.first() {
        return Err(InjectError::DuplicateSlot { path: path.clone() });
    }
    Ok(())
}

/// What the planning of every slot needs.
struct Targets<'a, 'm> {
    registry: &'a Registry,
    leaves: &'a Leaves<'m>,
    config: &'a Arc<LoraConfig>,
    matcher: &'a TargetMatcher,
    adapter_name: &'a str,
}

/// A targeted slot whose checks have passed.
struct Target<'m> {
    path: String,
    slot: &'m Slot,
    options: LoraOptions,
}

impl<'m> Targets<'_, 'm> {
    /// Asks the registry about every match and collects all problems; draws no random number and makes no tensor.
    fn check(&self, survey: &Survey) -> Result<Vec<Target<'m>>, InjectError> {
        let slots: BTreeMap<&str, &'m Slot> =
            self.leaves.slots.iter().map(|(path, slot)| (path.as_str(), *slot)).collect();
        let mut targets = Vec::new();
        let mut problems = Vec::new();
        for path in &survey.matched {
            let Some(slot) = slots.get(path.as_str()) else {
                problems.push(Problem::NotASlot { path: path.clone() });
                continue;
            };
            match self.check_slot(path, slot) {
                Ok(options) => targets.push(Target { path: path.clone(), slot, options }),
                Err(problem) => problems.push(problem),
            }
        }
        problems.extend(self.unfreezable());
        if problems.is_empty() { Ok(targets) } else { Err(InjectError::Layers { problems }) }
    }

    fn check_slot(&self, path: &str, slot: &Slot) -> Result<LoraOptions, Problem> {
        let rules = self.matcher.scaling_rules();
        let options = LoraOptions::for_module(self.config, rules, path)?;
        crate::config::check_rank(path, options.rank)?;
        self.registry.dispatcher_for(path, slot.layer(), &options)?;
        Ok(options)
    }

    /// Parameters that are no leaves of the autograd graph cannot be frozen.
    fn unfreezable(&self) -> Vec<Problem> {
        let base = self.leaves.slots.iter().flat_map(|(path, slot)| {
            let tensors = slot.layer().named_tensors().into_iter();
            tensors.map(move |(name, tensor)| (format!("{path}.{name}"), tensor))
        });
        let others =
            self.leaves.parameters.iter().map(|(path, tensor)| (path.to_string(), tensor.shallow_clone()));
        base.chain(others)
            .filter(|(_, tensor)| !tensor.is_leaf())
            .map(|(path, _)| Problem::NotALeaf { path })
            .collect()
    }

    /// Makes every wrapper and adapter, in tree order, so that their random draws come in PEFT's order.
    fn make(&self, targets: Vec<Target<'m>>) -> Result<BTreeMap<String, Change>, InjectError> {
        let mut changes = BTreeMap::new();
        for target in targets {
            let change =
                self.change(&target).map_err(|error| InjectError::Layers { problems: vec![error.into()] })?;
            changes.insert(target.path, change);
        }
        Ok(changes)
    }

    fn change(&self, target: &Target<'m>) -> Result<Change, DispatchError> {
        let layer = target.slot.layer();
        let backend = self.registry.dispatcher_for(&target.path, layer, &target.options)?.name();
        if let Some(lora) = layer.as_lora() {
            let adapter = lora.lora().fresh_adapter(self.adapter_name, target.options.clone())?;
            return Ok(Change::Add { adapter, backend });
        }
        let wrapper = self.registry.wrap(&target.path, layer, self.adapter_name, &target.options)?;
        Ok(Change::Wrap { wrapper, backend })
    }
}

/// The biases that train because of an adapter's `bias`; `adapted` says which slots have the adapter.
fn trained_biases(
    leaves: &Leaves<'_>,
    bias: Bias,
    adapted: impl Fn(&str, &Slot) -> bool,
) -> BTreeSet<String> {
    let of_slots = leaves.slots.iter().filter(|(path, slot)| {
        let counts = match bias {
            Bias::None => false,
            Bias::LoraOnly => adapted(path.as_str(), slot),
            Bias::All => true,
        };
        counts && slot.layer().bias().is_some()
    });
    let others = leaves.parameters.iter().filter(|(path, _)| bias == Bias::All && path.is_bias());
    let others = others.map(|(path, _)| path.to_string());
    of_slots.map(|(path, _)| format!("{path}.bias")).chain(others).collect()
}

/// The layers whose backend passes no gradient to its input, targeted or not: they lie between adapters all the same.
fn cut_off(leaves: &Leaves<'_>) -> Vec<Problem> {
    let quantized = leaves.slots.iter().filter_map(|(path, slot)| {
        let layer = slot.layer().innermost().as_quantized()?;
        (layer.capabilities().grad_input == Support::No).then_some((path, layer))
    });
    quantized
        .map(|(path, layer)| Problem::NoGradient { path: path.to_string(), layer: format!("{layer:?}") })
        .collect()
}

fn has_adapter(slot: &Slot, name: &str) -> bool {
    slot.layer().as_lora().is_some_and(|lora| lora.lora().adapter(name).is_some())
}

/// The parameters of `tensor`'s kind that can carry a gradient.
pub(super) fn can_train(tensor: &Tensor) -> bool {
    tensor.is_floating_point() || tensor.is_complex()
}
