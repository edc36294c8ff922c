//! From a checkpoint's tensors to a layer: the loaders of the dispatchers, asked in order.

use super::{Dispatcher, LayerSource, LoadError, Registry, registration_hint};
use crate::Layer;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A backend's loader: a layer if the tensors are in its format, `None` if they are not, and an error if they are
/// nearly so: damaged, or a variant that it knows by name and cannot compute with.
pub type LoadFn = fn(&LayerSource<'_>) -> Result<Option<Box<dyn Layer>>, LoadError>;

impl Registry {
    /// The layer whose tensors `source` describes, made by the first dispatcher whose loader takes it.
    ///
    /// # Errors
    /// [`LoadError::NoBackend`] when nobody takes it, with what is linked and what would have to be; otherwise the loader's
    /// own error, for example of a damaged tensor.
    pub fn load_layer(&self, source: &LayerSource<'_>) -> Result<Box<dyn Layer>, LoadError> {
        for dispatcher in self.dispatchers() {
            let Some(load) = dispatcher.loader() else { continue };
            if let Some(layer) = fenced(dispatcher, source, load)? {
                return Ok(layer);
            }
        }
        let format = format_of(source);
        let linked: Vec<&str> = self.dispatchers().iter().map(Dispatcher::name).collect();
        let hint = if linked.contains(&format.as_str()) {
            format!("\"{format}\" is linked, but these are not its tensors: the files may be damaged")
        } else {
            registration_hint(&format)
        };
        let (path, files, tensors) = (source.path.to_owned(), source.files(), source.describe());
        Err(LoadError::NoBackend { path, files, format, tensors, linked, hint })
    }
}

/// The format's name for errors: by the tensors that give it away, else by what the config says.
fn format_of(source: &LayerSource<'_>) -> String {
    let has = |name: &str| source.info(name).is_some();
    let qweight_of_gptq = || match (source.matrix("qweight"), source.matrix("scales")) {
        (Some((_, [_, columns])), Some((_, [_, out_features]))) => columns == out_features,
        _ => false,
    };
    let by_tensors = if has("g_idx") || qweight_of_gptq() {
        Some("gptq")
    } else if has("weight.absmax") {
        Some("bitsandbytes")
    } else if has("weight_packed") {
        Some("compressed-tensors")
    } else {
        None
    };
    let by_config = || source.config(&["quant_method"]).and_then(|method| method.as_str());
    let by_qweight = || has("qweight").then_some("awq");
    let dense = if has("weight") { "linear" } else { "unknown" };
    by_tensors.or_else(by_config).or_else(by_qweight).unwrap_or(dense).to_owned()
}

/// Runs a loader so that its panic is an error of that backend and of nobody else.
fn fenced(
    dispatcher: &Dispatcher,
    source: &LayerSource<'_>,
    load: LoadFn,
) -> Result<Option<Box<dyn Layer>>, LoadError> {
    catch_unwind(AssertUnwindSafe(|| load(source))).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        Err(LoadError::Panicked {
            path: source.path.to_owned(),
            dispatcher: dispatcher.name(),
            message: text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default(),
        })
    })
}
