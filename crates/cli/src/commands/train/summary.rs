//! How a run ended, and what to type next.

use super::progress::Progress;
use crate::output::{grouped, size, table};
use crate::settings::{CONFIG_FILE, Settings};
use qtuner_train::trainer::Status;
use qtuner_train::{Evaluation, Outcome};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a model that has learned the data is to be asked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PromptKind {
    /// A message in the chat template.
    Chat,
    /// A text as it stands.
    Text,
}

/// How a run ended.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    #[serde(flatten)]
    outcome: Outcome,
    /// The adapter's folder, when the run is finished.
    adapter: Option<PathBuf>,
    first_loss: Option<f64>,
    last_loss: Option<f64>,
    evaluation_at_start: Option<Evaluation>,
    seconds: f64,
    tokens_per_second: Option<f64>,
    peak_memory: Option<u64>,
    loss_curve: PathBuf,
    settings: PathBuf,
    #[serde(skip)]
    prompt: PromptKind,
}

impl Summary {
    pub(super) fn new(
        settings: &Settings,
        outcome: Outcome,
        progress: &Progress,
        time: Duration,
        prompt: PromptKind,
    ) -> Self {
        let output = &settings.run.output;
        Self {
            adapter: (outcome.status == Status::Finished).then(|| output.clone()),
            outcome,
            first_loss: progress.first_loss,
            last_loss: progress.last_loss(),
            evaluation_at_start: progress.evaluation_at_start,
            seconds: time.as_secs_f64(),
            tokens_per_second: progress.tokens_per_second(),
            peak_memory: progress.peak_memory,
            loss_curve: output.join("loss.png"),
            settings: output.join(CONFIG_FILE),
            prompt,
        }
    }

    /// For people.
    pub(super) fn text(&self, settings: &Settings) -> String {
        let mut rows = vec![("steps", format!("{} of {}", self.outcome.step, self.outcome.max_steps))];
        if let (Some(first), Some(last)) = (self.first_loss, self.last_loss) {
            rows.push(("loss", format!("{first:.4} -> {last:.4}")));
        }
        if let Some(evaluation) = &self.outcome.evaluation {
            let before =
                self.evaluation_at_start.map_or(String::new(), |before| format!("{:.4} -> ", before.loss));
            rows.push((
                "held out",
                format!("{before}{:.4}, perplexity {:.2}", evaluation.loss, evaluation.perplexity),
            ));
        }
        if let Some(speed) = self.tokens_per_second {
            #[allow(clippy::cast_possible_truncation, reason = "a speed for reading")]
            let speed = grouped(speed.round() as i64);
            let memory = self.peak_memory.map_or(String::new(), |bytes| format!(", {} at most", size(bytes)));
            rows.push(("speed", format!("{speed} tokens/s, {:.0} s{memory}", self.seconds)));
        }
        rows.push(("loss curve", self.loss_curve.display().to_string()));
        rows.push(("settings", self.settings.display().to_string()));
        let result = match &self.adapter {
            Some(folder) => ("adapter", folder),
            None => ("checkpoint", &self.outcome.checkpoint),
        };
        rows.push((result.0, result.1.display().to_string()));
        let rows: Vec<_> = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
        format!("{}\n{}", table(&rows, 2), self.next(settings))
    }

    /// What to type next.
    fn next(&self, settings: &Settings) -> String {
        let (model, output) = (quoted(&settings.run.model), quoted(&settings.run.output));
        if self.adapter.is_none() {
            return format!("to go on:\n  qtuner train --resume --output {output}\n");
        }
        let data = quoted(settings.run.eval_data.as_ref().unwrap_or(&settings.run.data));
        let mut held_out = format!("--sequence-length {}", settings.train.sequence_length);
        if settings.train.eval_fraction > 0.0 {
            held_out = format!("--last-fraction {} {held_out}", settings.train.eval_fraction);
        }
        let chat = match self.prompt {
            PromptKind::Chat => " --chat",
            PromptKind::Text => "",
        };
        format!(
            "next:\n  qtuner generate --model {model} --adapter {output} --compare{chat} --prompt \"...\"\n  \
             qtuner eval --model {model} --adapter {output} --data {data} {held_out}\n"
        )
    }
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = text.chars().all(|c| c.is_alphanumeric() || "/._-+=:@%".contains(c));
    if is_plain { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}
