//! What is odd and no failure: a sentence and a hint on stderr, and a field of the JSON.

use crate::output::{self, size};
use qtuner_core::Survey;
use qtuner_models::{DecoderConfig, GenerationOptions};
use qtuner_train::data::DataReport;
use qtuner_train::{Plan, Tokenizer, TrainConfig};
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

    /// Options of a run that decide nothing, or not what they say.
    pub(crate) fn about_options(train: &TrainConfig, plan: &Plan) -> Vec<Self> {
        let asked = [
            ("--eval-every", train.eval_every.is_some()),
            ("--eval-on-start", train.eval_on_start),
            ("--eval-batch-size", train.eval_batch_size.is_some()),
        ];
        let idle = given(asked);
        let mut warnings = Vec::new();
        if plan.eval_samples == 0 && !idle.is_empty() {
            warnings.push(Self {
                message: format!("there is nothing to evaluate on, whatever {idle} may say"),
                hint: "--eval-data FILE, or --eval-fraction PART, which holds a part of --data out"
                    .to_owned(),
            });
        }
        if train.warmup_steps.is_some_and(|steps| steps >= plan.steps) {
            warnings.push(Self {
                message: format!(
                    "`warmup_steps` is {}, of {} steps: the learning rate only rises",
                    plan.warmup_steps, plan.steps
                ),
                hint: "a smaller --warmup-steps, or more steps".to_owned(),
            });
        }
        warnings
    }

    /// Texts of more tokens than the model was made for.
    pub(crate) fn about_context(tokens: usize, config: &DecoderConfig) -> Option<Self> {
        let context = config.max_position_embeddings;
        let is_beyond = i64::try_from(tokens).is_ok_and(|tokens| tokens > context);
        is_beyond.then(|| Self {
            message: format!("a text of {tokens} tokens, and the model's context is {context}"),
            hint: "beyond it, models are mostly worse; a smaller --sequence-length or --max-new-tokens stays within"
                .to_owned(),
        })
    }

    /// Options for sampling, given with a temperature at which nothing is drawn.
    pub(crate) fn about_sampling(options: &GenerationOptions) -> Option<Self> {
        let idle = given([
            ("--top-k", options.top_k.is_some()),
            ("--top-p", options.top_p.is_some()),
            ("--seed", options.seed != 0),
        ]);
        (options.temperature == 0.0 && !idle.is_empty()).then(|| Self {
            message: format!("nothing is drawn at temperature 0, whatever {idle} may say"),
            hint: "--temperature 0.8, say, draws tokens".to_owned(),
        })
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

/// The names of the options that were given, in a sentence.
fn given<const N: usize>(options: [(&str, bool); N]) -> String {
    let names = options.into_iter().filter(|(_, given)| *given).map(|(name, _)| name);
    names.collect::<Vec<_>>().join(" and ")
}
