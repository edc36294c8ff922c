//! What an injection did, for programs and for people.

use crate::config::{LoraConfig, Survey};
use crate::{AdapterStore, Layer, LoraLayer};
use std::fmt;
use std::sync::Arc;
use tch::nn::VarStore;

/// What an injection did.
///
/// Its `Display` is a table: one line a layer, then what matched nothing, then the counts.
#[derive(Debug)]
#[non_exhaustive]
pub struct InjectReport {
    /// The adapter that was added.
    pub adapter_name: String,
    /// Its config, with the targets resolved to names: what is saved with it.
    pub config: Arc<LoraConfig>,
    /// The layers that got it, in tree order.
    pub layers: Vec<AdaptedLayer>,
    /// What matched, what was excluded and which patterns hit nothing.
    pub survey: Survey,
    /// What may not be what was meant.
    pub warnings: Vec<String>,
    /// Parameters that train now.
    pub trainable: i64,
    /// All parameters; a packed weight counts as the weights it stands for.
    pub total: i64,
    pub(crate) store: AdapterStore,
}

impl InjectReport {
    /// The `VarStore` that holds the adapters' parameters, and the biases that train along: what an optimizer is built on.
    pub fn var_store(&self) -> VarStore {
        self.store.var_store()
    }

    /// Trainable parameters in percent of all.
    #[allow(clippy::cast_precision_loss, reason = "a percentage is for reading")]
    pub fn trainable_percent(&self) -> f64 {
        100.0 * self.trainable as f64 / self.total.max(1) as f64
    }
}

/// One layer that got an adapter.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct AdaptedLayer {
    /// Its name.
    pub path: String,
    /// The dispatcher that takes it.
    pub backend: &'static str,
    /// The kind of the base layer.
    pub base: &'static str,
    /// Size of the input.
    pub in_features: i64,
    /// Size of the output.
    pub out_features: i64,
    /// The adapter's rank there.
    pub rank: i64,
    /// The adapter's scaling there.
    pub scaling: f64,
}

impl AdaptedLayer {
    pub(super) fn of(path: &str, backend: &'static str, lora: &dyn LoraLayer, adapter: &str) -> Option<Self> {
        let layer: &dyn Layer = lora;
        Some(Self {
            path: path.to_owned(),
            backend,
            base: layer.innermost().kind_name(),
            in_features: lora.in_features(),
            out_features: lora.out_features(),
            rank: lora.lora().adapter(adapter)?.options().rank,
            scaling: lora.lora().adapter(adapter)?.scaling(),
        })
    }
}

impl fmt::Display for InjectReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = vec![["layer", "base", "backend", "in", "out", "r", "scaling"].map(str::to_owned)];
        rows.extend(self.layers.iter().map(|layer| {
            [
                layer.path.clone(),
                layer.base.to_owned(),
                layer.backend.to_owned(),
                layer.in_features.to_string(),
                layer.out_features.to_string(),
                layer.rank.to_string(),
                layer.scaling.to_string(),
            ]
        }));
        let widths: Vec<usize> =
            (0..7).map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0)).collect();
        let layers = if self.layers.len() == 1 { "layer" } else { "layers" };
        writeln!(f, "adapter \"{}\" on {} {layers}", self.adapter_name, self.layers.len())?;
        for row in &rows {
            let texts = row.iter().zip(&widths).take(3).map(|(text, width)| format!("{text:<width$}"));
            let numbers = row.iter().zip(&widths).skip(3).map(|(text, width)| format!("{text:>width$}"));
            writeln!(f, "  {}", texts.chain(numbers).collect::<Vec<_>>().join("  ").trim_end())?;
        }
        let lists = [
            ("excluded", &self.survey.excluded),
            ("target_modules that hit nothing", &self.survey.unused_target_modules),
            ("exclude_modules that hit nothing", &self.survey.unused_exclude_modules),
            ("rank_pattern keys that hit nothing", &self.survey.unused_rank_pattern),
            ("alpha_pattern keys that hit nothing", &self.survey.unused_alpha_pattern),
            ("warnings", &self.warnings),
        ];
        for (what, names) in lists.into_iter().filter(|(_, names)| !names.is_empty()) {
            writeln!(f, "{what}: {}", names.join(", "))?;
        }
        write!(
            f,
            "trainable params: {} || all params: {} || trainable%: {:.4}",
            grouped(self.trainable),
            grouped(self.total),
            self.trainable_percent()
        )
    }
}

/// `1,234,567`, as PEFT prints counts.
fn grouped(count: i64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
