//! Reading an adapter into a model: all of it fits, or nothing changes.

use super::names::{bias_name, file_name, with_prefix};
use super::{AdapterFileError, MODEL_FILE, StoredAdapter, Trainability};
use crate::config::Bias;
use crate::inject::{InjectReport, Injection, Plan, apply, plan};
use crate::{Mode, ModuleTree, model};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use tch::{TchError, Tensor};

/// What a load did.
#[derive(Debug)]
#[non_exhaustive]
pub struct LoadReport {
    /// The injection that made room for the tensors.
    pub injection: InjectReport,
    /// How many tensors were read.
    pub tensors: usize,
}

/// Reads the adapter in `folder` into `model` under the name `adapter_name`, using the backends linked in.
///
/// Half-precision tensors become f32, as in PEFT. The first adapter of a model is active; a further one waits for
/// [`set_adapter`](crate::model::set_adapter).
///
/// # Errors
/// [`AdapterFileError::Misfit`] names every tensor that is missing, unexpected or of a wrong shape. On any error the model is
/// unchanged.
pub fn load_adapter(
    model: &mut impl ModuleTree,
    folder: impl AsRef<Path>,
    adapter_name: &str,
    trainability: Trainability,
) -> Result<LoadReport, AdapterFileError> {
    load_adapter_with(&Injection::new(), model, folder, adapter_name, trainability)
}

/// [`load_adapter`] with an injection of your own (a registry, a `VarStore`).
///
/// # Errors
/// Those of [`load_adapter`].
pub fn load_adapter_with(
    injection: &Injection<'_>,
    model: &mut impl ModuleTree,
    folder: impl AsRef<Path>,
    adapter_name: &str,
    trainability: Trainability,
) -> Result<LoadReport, AdapterFileError> {
    let folder = folder.as_ref();
    let StoredAdapter { config, tensors: found } = StoredAdapter::read(folder)?;
    let path = folder.join(MODEL_FILE);

    let inject = |source| AdapterFileError::Inject { path: folder.to_owned(), source: Box::new(source) };
    let plan = plan(injection, &model.collect_leaves(), &config, adapter_name);
    let plan = match trainability {
        Trainability::Trainable => plan.and_then(Plan::trainable),
        Trainability::Frozen => plan,
    };
    let plan = plan.map_err(inject)?;
    let mut expected = of_adapter(&plan);
    let biases = of_biases(model, &plan);
    if config.bias == Bias::LoraOnly && !biases.keys().any(|name| found.contains_key(name)) {
        // PEFT 0.20 writes none then, so those of the base are what it computes with, too.
        tracing::warn!(
            "{}: bias = \"lora_only\", but the file holds no bias: the model's own stay",
            folder.display()
        );
    } else {
        expected.extend(biases);
    }
    let copies = matched(&path, found, expected, &of_base(model))?;
    let tensors = copies.len();
    copy(&copies).map_err(|(tensor, source)| AdapterFileError::Torch { tensor, source })?;
    for warning in &plan.warnings {
        tracing::warn!("{}: {warning}", folder.display());
    }
    let biases = plan.own_biases.clone();
    let mut injection = apply(model, plan);
    if trainability == Trainability::Frozen {
        freeze(model, adapter_name, &biases);
        (injection.trainable, injection.total) = model::count_parameters(model);
    }
    Ok(LoadReport { injection, tensors })
}

/// The adapter's tensors that `plan` asks of the file: by the name in the file, where the values go.
fn of_adapter(plan: &Plan) -> BTreeMap<String, Tensor> {
    let mut expected = BTreeMap::new();
    for (path, change) in &plan.changes {
        let adapter = change.adapter(&plan.adapter_name);
        for (parameter, tensor) in adapter.iter().flat_map(|adapter| adapter.parameters(&plan.adapter_name)) {
            expected.insert(file_name(path, &parameter, &plan.adapter_name), tensor.shallow_clone());
        }
    }
    expected
}

/// The biases that `plan` asks of it, in the same way.
fn of_biases(model: &impl ModuleTree, plan: &Plan) -> BTreeMap<String, Tensor> {
    let mut expected = BTreeMap::new();
    if plan.own_biases.is_empty() {
        return expected;
    }
    let leaves = model.collect_leaves();
    let slots = leaves
        .slots
        .iter()
        .filter_map(|(path, slot)| Some((format!("{path}.bias"), slot.layer().innermost().bias()?)));
    let others = leaves.parameters.iter().map(|(path, tensor)| (path.to_string(), tensor.shallow_clone()));
    for (path, tensor) in slots.chain(others).filter(|(path, _)| plan.own_biases.contains(path)) {
        let adapted = path.strip_suffix(".bias").is_some_and(|module| plan.changes.contains_key(module));
        expected.insert(bias_name(&path, adapted), tensor);
    }
    expected
}

/// The base model's tensors, by the names that copies of them have in a file: PEFT adds the head and the embedding where the head
/// is a target (`save_embedding_layers`).
fn of_base(model: &impl ModuleTree) -> BTreeMap<String, Tensor> {
    let leaves = model.collect_leaves();
    let slots = leaves.slots.iter().flat_map(|(path, slot)| {
        let tensors = slot.layer().innermost().named_tensors().into_iter();
        tensors.map(move |(name, tensor)| (format!("{path}.{name}"), tensor))
    });
    let others = leaves.parameters.iter().map(|(path, tensor)| (path.to_string(), tensor.shallow_clone()));
    slots.chain(others).map(|(path, tensor)| (with_prefix(&path), tensor)).collect()
}

/// Whether a tensor of the file says nothing that the base does not hold.
fn is_copy(name: &str, tensor: &Tensor, base: &BTreeMap<String, Tensor>) -> bool {
    let Some(original) = base.get(&name.replace(".base_layer.", ".")) else { return false };
    let cast = tensor.f_to_device(original.device()).and_then(|tensor| tensor.f_to_kind(original.kind()));
    cast.is_ok_and(|cast| cast.size() == original.size() && cast.f_equal(original).unwrap_or(false))
}

/// A tensor of the file and the one that it goes to.
struct CopyOf {
    name: String,
    from: Tensor,
    to: Tensor,
}

fn matched(
    path: &Path,
    mut found: BTreeMap<String, Tensor>,
    expected: BTreeMap<String, Tensor>,
    base: &BTreeMap<String, Tensor>,
) -> Result<Vec<CopyOf>, AdapterFileError> {
    let mut missing = Vec::new();
    let mut wrong_shape = Vec::new();
    let mut copies = Vec::new();
    for (name, to) in expected {
        match found.remove(&name) {
            None => missing.push(name),
            Some(from) if from.size() != to.size() => wrong_shape.push((name, from.size(), to.size())),
            Some(from) => copies.push(CopyOf { name, from, to }),
        }
    }
    let unknown = found.into_iter().filter(|(name, tensor)| !is_copy(name, tensor, base));
    let unexpected: Vec<String> = unknown.map(|(name, _)| name).collect();
    if missing.is_empty() && unexpected.is_empty() && wrong_shape.is_empty() {
        return Ok(copies);
    }
    Err(AdapterFileError::Misfit { path: path.to_owned(), missing, unexpected, wrong_shape })
}

/// Copies every tensor. The adapters' own are not part of the model yet; biases are, so they are copied last, after
/// everything that could fail has been tried on a scratch copy.
fn copy(copies: &[CopyOf]) -> Result<(), (String, TchError)> {
    let _guard = tch::no_grad_guard();
    let mut converted = Vec::new();
    for copy in copies {
        let from = copy.from.f_to_device(copy.to.device()).and_then(|from| from.f_to_kind(copy.to.kind()));
        converted.push(from.map_err(|error| (copy.name.clone(), error))?);
    }
    for (copy, from) in copies.iter().zip(&converted) {
        copy.to.shallow_clone().f_copy_(from).map_err(|error| (copy.name.clone(), error))?;
    }
    Ok(())
}

/// An adapter that does not train: its parameters and its biases are frozen, and dropout is off in the whole model.
fn freeze(model: &mut impl ModuleTree, adapter_name: &str, biases: &BTreeSet<String>) {
    model::set_mode(model, Mode::Eval);
    // Leaves take any flag, and the plan has seen that all of these are leaves.
    let freeze = |tensor: &Tensor| drop(tensor.f_set_requires_grad(false));
    let mut leaves = model.collect_leaves_mut();
    for (path, slot) in &mut leaves.slots {
        if let Some(lora) = slot.layer_mut().as_lora_mut() {
            drop(lora.lora_mut().freeze(adapter_name));
        }
        if biases.contains(&format!("{path}.bias")) {
            slot.layer().innermost().bias().iter().for_each(freeze);
        }
    }
    for (path, tensor) in &leaves.parameters {
        if biases.contains(path.as_str()) {
            freeze(tensor);
        }
    }
}
