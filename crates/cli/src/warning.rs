//! What is odd and no failure: a sentence and a hint on stderr, and a field of the JSON.

use crate::output::{self, size};
use qtuner_core::Survey;
use qtuner_models::DecoderConfig;
use qtuner_train::Tokenizer;
use qtuner_train::data::DataReport;
use serde::Serialize;
use std::path::Path;

/// A sentence and a hint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Warning {
    message: String,
    hint: String,
}

impl Warning {
    /// Why a model that has learned these data would not stop after an answer, by the end tokens of the folder `model`.
    pub(crate) fn about_stops(report: &DataReport, tokenizer: &Tokenizer, model: &Path) -> Vec<Self> {
        let stops = DecoderConfig::read(model).map(|config| config.eos_token_ids);
        let stops = stops.unwrap_or_else(|_| tokenizer.eos().into_iter().map(i64::from).collect());
        let reasons = report.endings.without_stop(tokenizer, &stops);
        reasons.iter().map(|reason| Self { message: reason.to_string(), hint: reason.hint() }).collect()
    }

    /// Entries of the adapter's configuration that decide nothing.
    pub(crate) fn about_patterns(survey: &Survey) -> Vec<Self> {
        let lists = [
            ("target_modules", &survey.unused_target_modules),
            ("exclude_modules", &survey.unused_exclude_modules),
            ("rank_pattern", &survey.unused_rank_pattern),
            ("alpha_pattern", &survey.unused_alpha_pattern),
        ];
        let unused = lists.into_iter().filter(|(_, entries)| !entries.is_empty());
        let warnings = unused.map(|(name, entries)| Self {
            message: format!("`{name}` has entries that decide nothing: {}", entries.join(", ")),
            hint:
                "`qtuner inspect MODEL` lists the layers by name; of two patterns that fit, the first counts"
                    .to_owned(),
        });
        warnings.collect()
    }

    /// A run that needs more memory than the machine has, where the system tells.
    pub(crate) fn about_memory(needed: u64, there: Option<u64>) -> Option<Self> {
        let there = there.filter(|there| *there < needed)?;
        Some(Self {
            message: format!("the run needs about {}, and the machine has {}", size(needed), size(there)),
            hint: "a smaller --batch-size or --sequence-length, --dtype bfloat16, or a smaller --r"
                .to_owned(),
        })
    }

    /// Says it on stderr.
    pub(crate) fn say(&self) {
        output::note(format_args!("warning: {}\nhint: {}", self.message, self.hint));
    }
}
