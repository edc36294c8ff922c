//! Taking a model's tensors out of a checkpoint: each is checked against the config, copied once, and ticked off.

use crate::config::Bias;
use crate::{Checkpoint, ModelError};
use qtuner_core::registry::ReadTensor;
use qtuner_core::{Layer, Registry, Slot};
use std::cell::RefCell;
use std::collections::BTreeSet;
use tch::{Device, Kind, Tensor};

/// Makes the parts of a model from a checkpoint.
pub(crate) struct Assembly<'a> {
    pub(crate) checkpoint: &'a Checkpoint,
    pub(crate) registry: &'a Registry,
    pub(crate) kind: Kind,
    pub(crate) device: Device,
    pub(crate) used: RefCell<BTreeSet<String>>,
}

impl Assembly<'_> {
    /// The parameter `name` of `shape`, in the compute dtype.
    pub(crate) fn parameter(&self, name: &str, shape: &[i64]) -> Result<Tensor, ModelError> {
        let info = self.checkpoint.info(name).ok_or_else(|| self.missing(name))?;
        let floating = matches!(info.kind, Some(Kind::Float | Kind::Half | Kind::BFloat16 | Kind::Double));
        if info.shape != shape || !floating {
            return Err(ModelError::Tensor {
                files: info.file.display().to_string(),
                tensor: name.to_owned(),
                found: info.to_string(),
                expected: format!("a floating {shape:?}"),
            });
        }
        self.used.borrow_mut().insert(name.to_owned());
        Ok(self.checkpoint.read(name, Some(self.kind), self.device)?)
    }

    /// The linear layer at `path`, by whichever backend takes its tensors.
    pub(crate) fn linear(
        &self,
        path: &str,
        in_features: i64,
        out_features: i64,
        bias: Bias,
    ) -> Result<Slot, ModelError> {
        let source = self.checkpoint.layer(path, self.kind, self.device);
        if source.tensors.is_empty() {
            return Err(self.missing(&format!("{path}.weight")));
        }
        let layer = self.registry.load_layer(&source)?;
        let sizes = |layer: &dyn Layer| (layer.in_features(), layer.out_features());
        if sizes(&*layer) != (in_features, out_features) {
            return Err(ModelError::Tensor {
                files: source.files(),
                tensor: path.to_owned(),
                found: format!("{:?}", &*layer),
                expected: format!("in_features={in_features}, out_features={out_features}"),
            });
        }
        if bias == Bias::Required && layer.bias().is_none() {
            return Err(self.missing(&format!("{path}.bias")));
        }
        self.used.borrow_mut().extend(source.tensors.keys().map(|name| format!("{path}.{name}")));
        Ok(Slot::new(layer))
    }

    /// The names of tensors that nothing took.
    pub(crate) fn unused(&self) -> Vec<&str> {
        let used = self.used.borrow();
        self.checkpoint.tensors().map(|(name, _)| name).filter(|name| !used.contains(*name)).collect()
    }

    fn missing(&self, name: &str) -> ModelError {
        let some = self.checkpoint.tensors().next();
        let hint = match some {
            None => "; the checkpoint has no tensors".to_owned(),
            Some((some, _)) if !some.starts_with("model.") && some != "lm_head.weight" => {
                format!(
                    "; the checkpoint's names begin as `{some}`, expected those of a causal language model"
                )
            }
            Some(_) => "; config.json asks for it".to_owned(),
        };
        ModelError::MissingTensor {
            folder: self.checkpoint.folder().to_owned(),
            tensor: name.to_owned(),
            hint,
        }
    }
}
