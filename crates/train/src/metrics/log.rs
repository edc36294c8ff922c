//! `metrics.jsonl`, and everything that follows from it.

use super::tensorboard::EventWriter;
use super::{MetricsError, curve};
use crate::files::{read_if_there, write_atomically};
use crate::loss::Evaluation;
use crate::trainer::StepMetrics;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

const LOG_FILE: &str = "metrics.jsonl";

/// One line of `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Record {
    /// A step.
    Step(StepMetrics),
    /// An evaluation.
    Evaluation {
        /// Steps made before it.
        step: u64,
        /// Its figures.
        #[serde(flatten)]
        evaluation: Evaluation,
    },
}

impl Record {
    /// Steps made.
    pub fn step(&self) -> u64 {
        match self {
            Self::Step(metrics) => metrics.step,
            Self::Evaluation { step, .. } => *step,
        }
    }
}

/// Reads the figures of a run's output folder. A last line that is cut off, as a process that died leaves it, is left out.
///
/// # Errors
/// [`MetricsError`] when the system refuses.
pub fn read(output: &Path) -> Result<Vec<Record>, MetricsError> {
    let path = output.join(LOG_FILE);
    let text = read_if_there(&path).map_err(MetricsError::at(&path))?.unwrap_or_default();
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// Where a run writes its figures.
#[derive(Debug)]
pub struct MetricsLog {
    output: PathBuf,
    file: File,
    events: EventWriter,
    records: Vec<Record>,
}

impl MetricsLog {
    /// Opens the figures of `output` for a run that goes on after `step` steps: what an earlier process noted beyond is gone.
    ///
    /// # Errors
    /// [`MetricsError`] when the system refuses.
    pub fn open(output: &Path, step: u64) -> Result<Self, MetricsError> {
        fs::create_dir_all(output).map_err(MetricsError::at(output))?;
        let mut records = read(output)?;
        records.retain(|record| step > 0 && record.step() <= step);
        let lines: Result<Vec<String>, _> = records.iter().map(serde_json::to_string).collect();
        let path = output.join(LOG_FILE);
        let lines = lines.map_err(|error| MetricsError::at(&path)(error.into()))?;
        let text: String = lines.into_iter().map(|line| line + "\n").collect();
        write_atomically(&path, text.as_bytes()).map_err(MetricsError::at(&path))?;
        let file = File::options().append(true).open(&path).map_err(MetricsError::at(&path))?;
        let events = EventWriter::create(&output.join("tensorboard"), step)?;
        Ok(Self { output: output.to_owned(), file, events, records })
    }

    /// The evaluation after `step` steps, if it is noted.
    pub fn evaluation_after(&self, step: u64) -> Option<Evaluation> {
        self.records.iter().rev().find_map(|record| match record {
            Record::Evaluation { step: other, evaluation } if *other == step => Some(*evaluation),
            _ => None,
        })
    }

    /// Notes a step.
    ///
    /// # Errors
    /// [`MetricsError`] when the system refuses.
    pub fn step(&mut self, metrics: &StepMetrics) -> Result<(), MetricsError> {
        let mut scalars = vec![
            ("train/loss", metrics.loss),
            ("train/learning_rate", metrics.learning_rate),
            ("train/grad_norm", metrics.grad_norm),
            ("train/epoch", metrics.epoch),
            ("train/tokens_per_second", metrics.tokens_per_second),
        ];
        #[allow(clippy::cast_precision_loss, reason = "a figure for a chart")]
        scalars.extend(metrics.peak_memory.map(|bytes| ("train/peak_memory", bytes as f64)));
        self.events.scalars(metrics.step, &scalars)?;
        self.note(Record::Step(metrics.clone()))
    }

    /// Notes an evaluation after `step` steps.
    ///
    /// # Errors
    /// [`MetricsError`] when the system refuses.
    pub fn evaluation(&mut self, step: u64, evaluation: &Evaluation) -> Result<(), MetricsError> {
        let scalars = [("eval/loss", evaluation.loss), ("eval/perplexity", evaluation.perplexity)];
        self.events.scalars(step, &scalars)?;
        self.note(Record::Evaluation { step, evaluation: *evaluation })
    }

    /// Draws the losses so far.
    ///
    /// # Errors
    /// [`MetricsError`] when the system refuses.
    pub fn draw(&self) -> Result<(), MetricsError> {
        curve::write(&self.records, &self.output)
    }

    fn note(&mut self, record: Record) -> Result<(), MetricsError> {
        let path = self.output.join(LOG_FILE);
        let line = serde_json::to_string(&record).map_err(|error| MetricsError::at(&path)(error.into()))?;
        // One write a line: a process that dies between two leaves whole lines.
        self.file.write_all(format!("{line}\n").as_bytes()).map_err(MetricsError::at(&path))?;
        self.records.push(record);
        Ok(())
    }
}
