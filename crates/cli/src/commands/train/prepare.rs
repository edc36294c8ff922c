//! What a run needs: data, and a model with its adapter.

use super::summary::PromptKind;
use crate::causal::Causal;
use crate::failure::Failure;
use crate::output::{self, grouped};
use crate::settings::Settings;
use crate::warning::Warning;
use qtuner_core::{InjectReport, inject_adapter};
use qtuner_train::data::{self, DataReport, Sample};
use qtuner_train::{Checkpoint, Dataset, Plan, Tokenizer};

/// The adapter's name in the model. PEFT's default; it does not show in the files.
pub(super) const ADAPTER: &str = "default";

/// What to train and evaluate on.
pub(super) struct Data {
    pub(super) train: Dataset,
    pub(super) eval: Dataset,
    report: DataReport,
    /// What is odd about them, and later about the run.
    pub(super) warnings: Vec<Warning>,
}

impl Data {
    /// Reads the files.
    pub(super) fn load(settings: &Settings) -> Result<Self, Failure> {
        let mut tokenizer = Tokenizer::open(settings.run.tokenizer_folder())?;
        let mut options = settings.train.data_options();
        let split = data::load(&settings.run.data, &options, &mut tokenizer)?;
        let eval = match &settings.run.eval_data {
            None => split.eval,
            Some(_) if options.eval_fraction > 0.0 => {
                let message = "both eval_data and eval_fraction say what to evaluate on";
                return Err(Failure::usage(message, "keep one of the two"));
            }
            Some(path) => {
                options.eval_fraction = 0.0;
                let split = data::load(path, &options, &mut tokenizer);
                split.map_err(|error| Failure::from(error).about_flag("--data", "--eval-data"))?.train
            }
        };
        let (rows, samples) = (settings.train.batch_size, split.train.samples().len());
        if rows > samples && samples > 0 {
            return Err(Failure::usage(
                format!("`batch_size` is {rows}, and the data give {samples} samples"),
                "--gradient-accumulation-steps makes steps of more samples than are seen at once",
            ));
        }
        let warnings = Warning::about_stops(&split.report, &tokenizer, &settings.run.model);
        Ok(Self { train: split.train, eval, report: split.report, warnings })
    }

    /// Tokens of the longest text that the model will see.
    pub(super) fn longest_text(&self) -> usize {
        let samples = self.train.samples().iter().chain(self.eval.samples());
        samples.map(Sample::longest_document).max().unwrap_or(0)
    }

    /// What the model is to be asked with when it has learned them.
    pub(super) fn prompt(&self) -> PromptKind {
        if self.report.endings.answers.count() > 0 { PromptKind::Chat } else { PromptKind::Text }
    }

    /// What the run will do with them.
    pub(super) fn plan(&self, settings: &Settings) -> Plan {
        Plan::new(&settings.train, &self.train, &self.eval)
    }
}

/// The model with a fresh adapter, or with that of a checkpoint.
pub(super) fn adapted_model(
    settings: &Settings,
    checkpoint: Option<&Checkpoint>,
) -> Result<(Causal, InjectReport), Failure> {
    let mut model = Causal::open(&settings.run.model, settings.run.dtype)?;
    let report = if let Some(checkpoint) = checkpoint {
        checkpoint.load_adapter(&mut model, ADAPTER)?.injection
    } else {
        tch::manual_seed(settings.train.seed.cast_signed());
        inject_adapter(&mut model, &settings.lora, ADAPTER)?
    };
    Ok((model, report))
}

/// Says on stderr what is about to be done.
pub(super) fn describe(settings: &Settings, data: &Data, injection: &InjectReport) {
    output::note(format_args!(
        "adapter of rank {} on {} layers: {} of {} parameters train ({:.2} %)",
        settings.lora.rank,
        injection.layers.len(),
        grouped(injection.trainable),
        grouped(injection.total),
        injection.trainable_percent()
    ));
    if !data.report.bad_lines.is_empty() || data.report.cut > 0 {
        output::note(&data.report);
    }
    output::note(data.plan(settings));
    data.warnings.iter().for_each(Warning::say);
}
