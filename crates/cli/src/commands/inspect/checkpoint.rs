//! A checkpoint folder: architecture, tensors, which backend takes which layers.

use super::odd;
use crate::failure::Failure;
use crate::output::{grouped, size, table};
use qtuner_core::registry::TensorInfo;
use qtuner_core::{LoraConfig, LoraOptions, ModuleTree, Registry, model};
use qtuner_models::{CausalLm, Checkpoint, DecoderConfig, OpenOptions};
use qtuner_train::Tokenizer;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Instant;

/// What a checkpoint folder holds.
#[derive(Debug, Serialize)]
pub(super) struct CheckpointReport {
    folder: String,
    architecture: Option<Architecture>,
    quantization: Option<Value>,
    layers: Vec<LayerGroup>,
    tensors: usize,
    files: usize,
    bytes: u64,
    bytes_by_dtype: BTreeMap<String, u64>,
    parameters: Option<i64>,
    tokenizer: Option<usize>,
    opened_in_seconds: Option<f64>,
    odd: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Architecture {
    model_type: String,
    blocks: usize,
    hidden_size: i64,
    intermediate_size: i64,
    attention_heads: i64,
    key_value_heads: i64,
    head_dim: i64,
    vocab_size: i64,
    max_position_embeddings: i64,
    tied_head: bool,
}

/// Layers of one name, one shape and one kind.
#[derive(Debug, Serialize)]
struct LayerGroup {
    name: String,
    count: usize,
    kind: String,
    backend: String,
    in_features: i64,
    out_features: i64,
    group_size: Option<i64>,
}

/// Reads the folder, and opens the model if it can be opened.
pub(super) fn look(folder: &Path) -> Result<CheckpointReport, Failure> {
    let checkpoint = Checkpoint::open(folder)?;
    let mut odd = Vec::new();
    let config = DecoderConfig::read(folder).map_err(|error| odd.push(error.to_string())).ok();
    let started = Instant::now();
    let model = config.as_ref().and_then(|_| {
        let opened = CausalLm::open(folder, &OpenOptions::default());
        opened.map_err(|error| odd.push(format!("it cannot be opened: {error}"))).ok()
    });
    let opened_in_seconds = model.as_ref().map(|_| started.elapsed().as_secs_f64());
    let tokenizer = Tokenizer::open(folder).map_err(|error| odd.push(error.to_string())).ok();
    let (mut layers, mut parameters) = (Vec::new(), None);
    if let Some(model) = &model {
        layers = groups(model)?;
        parameters = Some(model::count_parameters(model).1);
        odd.extend(unused(&checkpoint, model));
        odd.extend(quantization_oddities(&checkpoint, &layers));
    }
    if let (Some(tokenizer), Some(config)) = (&tokenizer, &config)
        && i64::try_from(tokenizer.vocab_size()).is_ok_and(|size| size > config.vocab_size)
    {
        odd.push(format!(
            "the tokenizer has {} tokens, the model {}",
            tokenizer.vocab_size(),
            config.vocab_size
        ));
    }
    let files: BTreeSet<_> = checkpoint.tensors().map(|(_, info)| info.file.clone()).collect();
    let mut bytes_by_dtype = BTreeMap::new();
    for (_, info) in checkpoint.tensors() {
        *bytes_by_dtype.entry(info.dtype.clone()).or_default() += bytes_of(info);
    }
    Ok(CheckpointReport {
        folder: folder.display().to_string(),
        architecture: config.as_ref().map(Architecture::of),
        quantization: checkpoint.quantization_config().cloned(),
        layers,
        tensors: checkpoint.tensors().count(),
        files: files.len(),
        bytes: files.iter().filter_map(|file| Some(std::fs::metadata(file).ok()?.len())).sum(),
        bytes_by_dtype,
        parameters,
        tokenizer: tokenizer.map(|tokenizer| tokenizer.vocab_size()),
        opened_in_seconds,
        odd,
    })
}

fn bytes_of(info: &TensorInfo) -> u64 {
    let count: i64 = info.shape.iter().product();
    let width = info.kind.map_or(1, tch::Kind::elt_size_in_bytes);
    u64::try_from(count).unwrap_or(0).saturating_mul(width as u64)
}

/// The model's linear layers, those that differ in their number alone together.
fn groups(model: &CausalLm) -> Result<Vec<LayerGroup>, Failure> {
    let registry = Registry::linked()?;
    let options = LoraOptions::from(&LoraConfig::new("all-linear"));
    let mut groups: Vec<LayerGroup> = Vec::new();
    for (path, slot) in model.collect_leaves().slots {
        let layer = slot.layer();
        let backend = registry.dispatcher_for(path.as_str(), layer, &options);
        let backend = backend.ok().map(qtuner_core::Dispatcher::name);
        let group = LayerGroup {
            name: without_numbers(path.as_str()),
            count: 1,
            kind: layer.kind_name().to_owned(),
            backend: backend.unwrap_or("none").to_owned(),
            in_features: layer.in_features(),
            out_features: layer.out_features(),
            group_size: layer.as_quantized().map(|layer| layer.capabilities().group_size),
        };
        match groups.iter_mut().find(|other| other.is_like(&group)) {
            Some(other) => other.count += 1,
            None => groups.push(group),
        }
    }
    Ok(groups)
}

fn without_numbers(path: &str) -> String {
    let parts = path.split('.').map(|part| if part.parse::<u32>().is_ok() { "*" } else { part });
    parts.collect::<Vec<_>>().join(".")
}

impl LayerGroup {
    fn is_like(&self, other: &Self) -> bool {
        self.name == other.name
            && self.kind == other.kind
            && (self.in_features, self.out_features) == (other.in_features, other.out_features)
            && self.group_size == other.group_size
    }
}

/// Tensors that the model has no place for.
fn unused(checkpoint: &Checkpoint, model: &CausalLm) -> Option<String> {
    let leaves = model.collect_leaves();
    let parameters: BTreeSet<&str> = leaves.parameters.iter().map(|(path, _)| path.as_str()).collect();
    let slots: BTreeSet<&str> = leaves.slots.iter().map(|(path, _)| path.as_str()).collect();
    let is_used = |name: &str| {
        parameters.contains(name) || name.rsplit_once('.').is_some_and(|(path, _)| slots.contains(path))
    };
    let unused: Vec<&str> =
        checkpoint.tensors().map(|(name, _)| name).filter(|name| !is_used(name)).collect();
    let first = unused.first()?;
    Some(format!("{} tensors that the model has no place for, `{first}` first", unused.len()))
}

fn quantization_oddities(checkpoint: &Checkpoint, layers: &[LayerGroup]) -> Vec<String> {
    let mut odd = Vec::new();
    let quantized: Vec<&LayerGroup> = layers.iter().filter(|layer| layer.group_size.is_some()).collect();
    match (checkpoint.quantization_config(), quantized.is_empty()) {
        (Some(_), true) => {
            odd.push("the config speaks of a quantization, and no layer is quantized".to_owned());
        }
        (None, false) => odd.push("layers are quantized, and the config does not say how".to_owned()),
        _ => {}
    }
    let said = checkpoint.quantization_config().and_then(|config| config.get("group_size")?.as_i64());
    for layer in quantized {
        if let (Some(said), Some(found)) = (said.filter(|said| *said > 0), layer.group_size)
            && said != found
        {
            odd.push(format!("{}: group size {found}, the config says {said}", layer.name));
        }
        if layer.backend == "none" {
            odd.push(format!("{}: no linked backend trains it", layer.name));
        }
    }
    odd
}

impl Architecture {
    fn of(config: &DecoderConfig) -> Self {
        Self {
            model_type: config.model_type.clone(),
            blocks: config.layers.len(),
            hidden_size: config.hidden_size,
            intermediate_size: config.intermediate_size,
            attention_heads: config.num_attention_heads,
            key_value_heads: config.num_key_value_heads,
            head_dim: config.head_dim,
            vocab_size: config.vocab_size,
            max_position_embeddings: config.max_position_embeddings,
            tied_head: config.head == qtuner_models::config::Head::Tied,
        }
    }

    fn text(&self) -> String {
        format!(
            "{}: {} blocks, hidden {}, intermediate {}, {} heads ({} for keys) of {}, vocabulary {}, {} head, context {}",
            self.model_type,
            self.blocks,
            self.hidden_size,
            self.intermediate_size,
            self.attention_heads,
            self.key_value_heads,
            self.head_dim,
            self.vocab_size,
            if self.tied_head { "tied" } else { "own" },
            self.max_position_embeddings,
        )
    }
}

impl CheckpointReport {
    /// For people.
    pub(super) fn text(&self) -> String {
        let dtypes: Vec<String> =
            self.bytes_by_dtype.iter().map(|(dtype, bytes)| format!("{dtype} {}", size(*bytes))).collect();
        let unknown = || "unknown".to_owned();
        let opened = self.opened_in_seconds.map_or("no".to_owned(), |seconds| format!("in {seconds:.2} s"));
        let rows = [
            ("checkpoint", self.folder.clone()),
            ("architecture", self.architecture.as_ref().map_or_else(unknown, Architecture::text)),
            ("quantization", self.quantization.as_ref().map_or("none".to_owned(), flat)),
            ("parameters", self.parameters.map_or_else(unknown, grouped)),
            (
                "files",
                format!(
                    "{} with {} tensors, {} ({})",
                    self.files,
                    self.tensors,
                    size(self.bytes),
                    dtypes.join(", ")
                ),
            ),
            ("tokenizer", self.tokenizer.map_or("none".to_owned(), |size| format!("{size} tokens"))),
            ("opens", opened),
        ];
        let mut text = table(&rows.map(|(name, value)| vec![name.to_owned(), value]), 2);
        if !self.layers.is_empty() {
            let head =
                ["layers", "kind", "backend", "count", "in", "out", "group"].map(str::to_owned).to_vec();
            let rows = self.layers.iter().map(|layer| {
                let group = layer.group_size.map_or(String::new(), |size| size.to_string());
                let numbers = [
                    layer.count.to_string(),
                    layer.in_features.to_string(),
                    layer.out_features.to_string(),
                    group,
                ];
                [layer.name.clone(), layer.kind.clone(), layer.backend.clone()]
                    .into_iter()
                    .chain(numbers)
                    .collect()
            });
            let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
            text = format!("{text}\n{}\n", table(&rows, 3));
        }
        text + &odd(&self.odd)
    }
}

/// An object in one line.
fn flat(value: &Value) -> String {
    let fields = value.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    let fields = fields.map(|(name, value)| match value.as_str() {
        Some(text) => format!("{name} {text}"),
        None => format!("{name} {value}"),
    });
    fields.collect::<Vec<_>>().join(", ")
}
