//! A base model and the adapters that are compared with it, one after the other in one model.

use crate::causal::Causal;
use crate::dtype::Dtype;
use crate::failure::Failure;
use qtuner_core::{Bias, Injection, Trainability, adapter_file, load_adapter_with, model};
use qtuner_train::Tokenizer;
use std::path::{Path, PathBuf};

/// The name that an adapter has in the model while it is looked at.
const NAME: &str = "adapter";

/// The flags that say which model.
#[derive(Debug, clap::Args)]
pub(crate) struct ModelFlags {
    /// Checkpoint folder: config.json, safetensors, tokenizer.json
    #[arg(long, value_name = "FOLDER")]
    pub(crate) model: PathBuf,
    /// Folder with another tokenizer.json [default: the model's]
    #[arg(long, value_name = "FOLDER")]
    tokenizer: Option<PathBuf>,
    /// What the model computes in
    #[arg(long, default_value = "float32")]
    dtype: Dtype,
}

impl ModelFlags {
    /// The tokenizer.
    pub(crate) fn tokenizer(&self) -> Result<Tokenizer, Failure> {
        Ok(Tokenizer::open(self.tokenizer.as_deref().unwrap_or(&self.model))?)
    }

    /// Runs `look` on each of `variants`. The model is opened once, unless an adapter has changed it for good.
    pub(crate) fn with_each(
        &self,
        variants: &[Variant],
        mut look: impl FnMut(&Variant, &mut Causal) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut model = Causal::open(&self.model, self.dtype)?;
        let mut is_spoilt = false;
        for variant in variants {
            if is_spoilt {
                model = Causal::open(&self.model, self.dtype)?;
            }
            if let Variant::Adapter(folder) = variant {
                let model_type = model.inner().config().model_type.clone();
                let injection = Injection::new().model_type(&model_type);
                let report = load_adapter_with(&injection, &mut model, folder, NAME, Trainability::Frozen);
                let report = report.map_err(|error| explained(error, folder))?;
                is_spoilt = report.injection.config.bias != Bias::None;
            }
            look(variant, &mut model)?;
            model::unload(&mut model);
        }
        Ok(())
    }
}

/// A base model or an adapter on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Variant {
    /// The model as it is.
    Base,
    /// With the adapter of a folder.
    Adapter(PathBuf),
}

impl Variant {
    /// What it is called.
    pub(crate) fn label(&self) -> String {
        match self {
            Self::Base => "base".to_owned(),
            Self::Adapter(folder) => folder.display().to_string(),
        }
    }

    /// The adapter's folder.
    pub(crate) fn adapter(&self) -> Option<&Path> {
        match self {
            Self::Base => None,
            Self::Adapter(folder) => Some(folder),
        }
    }

    /// The base, then the adapters.
    pub(crate) fn base_and(adapters: &[PathBuf]) -> Vec<Self> {
        std::iter::once(Self::Base).chain(adapters.iter().cloned().map(Self::Adapter)).collect()
    }
}

/// An unfinished run's folder has checkpoints and no adapter of its own: the error says which one to take.
fn explained(error: qtuner_core::AdapterFileError, folder: &Path) -> Failure {
    let is_missing = matches!(error, qtuner_core::AdapterFileError::Missing { .. });
    let checkpoint = newest_checkpoint(folder).filter(|_| is_missing);
    let failure = Failure::from(error);
    match checkpoint {
        None => failure,
        Some(checkpoint) => failure
            .with_hint(format!("the run is not finished; its newest checkpoint is {}", checkpoint.display())),
    }
}

/// The checkpoint of the most steps in a run's folder.
fn newest_checkpoint(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?;
    let steps = entries.filter_map(|entry| {
        let path = entry.ok()?.path();
        let step: u64 = path.file_name()?.to_str()?.strip_prefix("checkpoint-")?.parse().ok()?;
        path.join(adapter_file::CONFIG_FILE).is_file().then_some((step, path))
    });
    steps.max_by_key(|(step, _)| *step).map(|(_, path)| path)
}
