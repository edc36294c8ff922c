//! Writing an adapter.

use super::names::{bias_name, file_name};
use super::{AdapterFileError, CONFIG_FILE, MODEL_FILE, tensors};
use crate::config::{Bias, LoraConfig};
use crate::{ModuleTree, atomic, model};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tch::Tensor;

/// Writes the adapter called `adapter_name` into `folder` as PEFT's two files.
///
/// The tensors keep their dtype (f32 unless converted); `inference_mode` is always true in the file, and the targets are
/// those that the adapter was resolved to, so that PEFT finds the same layers.
///
/// # Errors
/// [`AdapterFileError::UnknownAdapter`], or [`AdapterFileError::Io`]; files that were there are whole.
pub fn save_adapter(
    model: &impl ModuleTree,
    adapter_name: &str,
    folder: impl AsRef<Path>,
) -> Result<(), AdapterFileError> {
    let folder = folder.as_ref();
    let (config, parameters) = collect(model, adapter_name)?;
    let bytes = tensors::encode(&parameters, &folder.join(MODEL_FILE))?;
    let path = folder.join(CONFIG_FILE);
    let json = config.to_json().map_err(|source| AdapterFileError::Config { path, source })?;
    // The tensors take their place first: a config beside the tensors it was written for is the one that counts.
    atomic::write(folder, &[(MODEL_FILE, &bytes), (CONFIG_FILE, json.as_bytes())])
        .map_err(|(path, source)| AdapterFileError::Io { path, source })
}

/// Writes every adapter of the model in PEFT's layout: `default` into `folder`, any other into a folder of its name in it.
///
/// # Errors
/// Those of [`save_adapter`].
pub fn save_adapters(model: &impl ModuleTree, folder: impl AsRef<Path>) -> Result<(), AdapterFileError> {
    let folder = folder.as_ref();
    for name in model::adapter_names(model) {
        let place = if name == "default" { folder.to_owned() } else { folder.join(&name) };
        save_adapter(model, &name, place)?;
    }
    Ok(())
}

/// An adapter's config and its tensors by their names in the file.
fn collect(
    model: &impl ModuleTree,
    adapter_name: &str,
) -> Result<(Arc<LoraConfig>, BTreeMap<String, Tensor>), AdapterFileError> {
    let leaves = model.collect_leaves();
    let mut config = None;
    let mut parameters = BTreeMap::new();
    for (path, slot) in &leaves.slots {
        let Some(adapter) = slot.layer().as_lora().and_then(|lora| lora.lora().adapter(adapter_name)) else {
            continue;
        };
        config.get_or_insert_with(|| Arc::clone(&adapter.options().config));
        for (parameter, tensor) in adapter.parameters(adapter_name) {
            parameters.insert(file_name(path.as_str(), &parameter, adapter_name), tensor.shallow_clone());
        }
    }
    let config = config.ok_or_else(|| AdapterFileError::UnknownAdapter {
        adapter: adapter_name.to_owned(),
        known: model::adapter_names(model),
    })?;
    if config.bias != Bias::None {
        for (path, slot) in &leaves.slots {
            let has_adapter = slot
                .layer()
                .as_tuner()
                .is_some_and(|tuner| tuner.adapter_names().iter().any(|name| name == adapter_name));
            if let Some(bias) =
                slot.layer().innermost().bias().filter(|_| has_adapter || config.bias == Bias::All)
            {
                parameters.insert(bias_name(&format!("{path}.bias"), has_adapter), bias);
            }
        }
        let others = leaves.parameters.iter().filter(|_| config.bias == Bias::All);
        for (path, tensor) in others.filter(|(path, _)| path.is_bias()) {
            parameters.insert(bias_name(path.as_str(), false), tensor.shallow_clone());
        }
    }
    Ok((config, parameters))
}
