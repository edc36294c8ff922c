//! An adapter folder: its config, its tensors, and whether it does anything.

use super::odd;
use crate::failure::Failure;
use crate::output::{grouped, size, table};
use qtuner_core::adapter_file::{self, StoredAdapter};
use qtuner_core::{ConfigError, ScalingRules, check_rank};
use qtuner_train::{Checkpoint, CheckpointError};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use tch::{Kind, Tensor};

/// What an adapter folder holds.
#[derive(Debug, Serialize)]
pub(super) struct AdapterReport {
    folder: String,
    base_model: Option<String>,
    r: i64,
    lora_alpha: String,
    target_modules: String,
    bias: &'static str,
    modules: usize,
    tensors: usize,
    parameters: i64,
    bytes: u64,
    dtypes: BTreeMap<String, usize>,
    /// Where the run stood, if the folder is a checkpoint of one.
    training: Option<Training>,
    odd: Vec<String>,
}

/// How far a run had come.
#[derive(Debug, Serialize)]
struct Training {
    step: u64,
    max_steps: u64,
}

/// Reads the folder.
pub(super) fn look(folder: &Path) -> Result<AdapterReport, Failure> {
    let hint = "an adapter folder has adapter_config.json and adapter_model.safetensors, as PEFT writes them";
    let stored = StoredAdapter::read(folder).map_err(|error| Failure::from(error).with_hint(hint))?;
    let StoredAdapter { config, tensors, .. } = &stored;
    let path = folder.join(adapter_file::MODEL_FILE);
    let bytes = std::fs::metadata(&path)
        .map_err(|error| Failure::new(format!("{}: {error}", path.display()), hint))?
        .len();
    let mut dtypes = BTreeMap::new();
    for tensor in tensors.values() {
        *dtypes.entry(format!("{:?}", tensor.kind())).or_default() += 1;
    }
    let training = match Checkpoint::open(folder) {
        Ok(checkpoint) => {
            Some(Training { step: checkpoint.state().global_step, max_steps: checkpoint.state().max_steps })
        }
        Err(CheckpointError::Io { .. }) => None,
        Err(damaged) => return Err(damaged.into()),
    };
    let sizes = tensors.values().map(|tensor| i64::try_from(tensor.numel()).unwrap_or(i64::MAX));
    Ok(AdapterReport {
        folder: folder.display().to_string(),
        base_model: config.base_model_name_or_path.clone().filter(|name| !name.is_empty()),
        r: config.rank,
        lora_alpha: config.lora_alpha.to_string(),
        target_modules: config.target_modules.as_ref().map_or("none".to_owned(), ToString::to_string),
        bias: config.bias.as_str(),
        modules: stored.modules().count(),
        tensors: tensors.len(),
        parameters: sizes.sum(),
        bytes,
        dtypes,
        training,
        odd: oddities(&stored)?,
    })
}

fn oddities(stored: &StoredAdapter) -> Result<Vec<String>, Failure> {
    let StoredAdapter { config, tensors, .. } = stored;
    let mut odd: Vec<String> = config.warnings().iter().map(ToString::to_string).collect();
    odd.extend(config.validate().err().map(|error| format!("it cannot be used: {error}")));
    odd.extend(
        refused_by_layers(stored)
            .unwrap_or_else(|error| Some(error.to_string()))
            .map(|reason| format!("it cannot be used: {reason}")),
    );
    if config.target_modules.is_none() {
        odd.push(
            "target_modules are not given: those that PEFT has for the model's type are taken".to_owned(),
        );
    }
    let b = tensors.iter().filter(|(name, _)| name.contains(".lora_B.weight"));
    let b: Vec<&Tensor> = b.map(|(_, tensor)| tensor).collect();
    let mut zeros = 0;
    for tensor in &b {
        zeros += usize::from(tensor.f_count_nonzero(None::<i64>)?.f_int64_value(&[])? == 0);
    }
    if b.is_empty() {
        odd.push("there is no lora_B tensor".to_owned());
    } else if zeros == b.len() {
        odd.push("every lora_B is zero: the adapter changes nothing, it was never trained".to_owned());
    } else if zeros > 0 {
        odd.push(format!("{zeros} of {} lora_B are zero: those modules were never trained", b.len()));
    }
    for (name, tensor) in tensors {
        if tensor.f_to_kind(Kind::Float)?.f_isfinite()?.f_all()?.f_int64_value(&[])? == 0 {
            odd.push(format!("tensor `{name}` has numbers that are not finite"));
        }
    }
    if let Some(base) = config.base_model_name_or_path.as_deref().filter(|base| Path::new(base).is_absolute())
        && !Path::new(base).is_dir()
    {
        odd.push(format!("its base model {base} is not there"));
    }
    Ok(odd)
}

/// Why no model's layers would take it, if that can be told without the model.
fn refused_by_layers(stored: &StoredAdapter) -> Result<Option<String>, ConfigError> {
    let rules = ScalingRules::new(&stored.config)?;
    if stored.config.use_dora {
        return Ok(Some("use_dora is true, and no format here computes DoRA".to_owned()));
    }
    for (module, a) in stored.modules() {
        let rank = check_rank(module, rules.rank_for(module)?)?;
        if a.size().first() != Some(&rank) {
            return Ok(Some(format!(
                "lora_A of {module} is {:?}, and the config says rank {rank}",
                a.size()
            )));
        }
    }
    Ok(None)
}

impl AdapterReport {
    /// For people.
    pub(super) fn text(&self) -> String {
        let dtypes: Vec<String> =
            self.dtypes.iter().map(|(dtype, count)| format!("{count} x {dtype}")).collect();
        let mut rows = vec![
            ("adapter", self.folder.clone()),
            ("base model", self.base_model.clone().unwrap_or_else(|| "not said".to_owned())),
            ("r, lora_alpha", format!("{}, {}", self.r, self.lora_alpha)),
            ("target_modules", self.target_modules.clone()),
            ("bias", self.bias.to_owned()),
            ("modules", self.modules.to_string()),
            ("tensors", format!("{} ({})", self.tensors, dtypes.join(", "))),
            ("parameters", grouped(self.parameters)),
            ("size", size(self.bytes)),
        ];
        if let Some(Training { step, max_steps }) = &self.training {
            rows.push(("training", format!("step {step} of {max_steps}; `qtuner train --resume` goes on")));
        }
        let rows: Vec<_> = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
        table(&rows, 2) + &odd(&self.odd)
    }
}
