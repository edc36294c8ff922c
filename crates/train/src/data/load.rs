//! A file to datasets.

use super::{Arrangement, BadLine, DataError, Document, Endings, Record, Sample, arrange, text};
use crate::chat::ChatTemplate;
use crate::{SpecialTokens, Tokenizer};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use std::path::Path;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataFormat {
    /// One long text.
    Text,
    /// One JSON object a line; see [`Record`].
    Jsonl,
}

impl DataFormat {
    /// By the file's ending: `.jsonl`, `.ndjson` and `.json` hold lines of JSON, anything else is text.
    pub fn of(path: &Path) -> Self {
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or("");
        let json = ["jsonl", "ndjson", "json"].iter().any(|known| ending.eq_ignore_ascii_case(known));
        if json { Self::Jsonl } else { Self::Text }
    }
}

/// How a file becomes samples.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct DataOptions {
    /// What the file holds; by its ending if not said.
    pub format: Option<DataFormat>,
    /// Tokens in a row, at least 2. Default 512.
    pub sequence_length: usize,
    /// How documents become rows; plain text is cut into windows either way. Default packed.
    pub arrangement: Arrangement,
    /// The part held out for evaluation, in `[0, 1]`: the last characters of a text, the last lines of JSONL. Default 0.
    pub eval_fraction: f64,
    /// How many bad lines are left out before the file is refused. Default 10.
    pub max_bad_lines: usize,
    /// Whether plain text starts with the tokenizer's special tokens. Default [`SpecialTokens::Skip`].
    pub text_special_tokens: SpecialTokens,
}

impl Default for DataOptions {
    fn default() -> Self {
        Self {
            format: None,
            sequence_length: 512,
            arrangement: Arrangement::Packed,
            eval_fraction: 0.0,
            max_bad_lines: 10,
            text_special_tokens: SpecialTokens::Skip,
        }
    }
}

/// Samples in file order.
#[derive(Debug, Clone)]
pub struct Dataset {
    samples: Vec<Sample>,
    pad: u32,
}

impl Dataset {
    /// A dataset of `samples`, whose batches are filled up with `pad`. Samples on which the loss counts nothing are left out.
    pub fn new(mut samples: Vec<Sample>, pad: u32) -> Self {
        samples.retain(|sample| sample.loss_tokens() > 0);
        Self { samples, pad }
    }

    /// The samples.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// The token that rows are filled up with.
    pub fn pad(&self) -> u32 {
        self.pad
    }

    /// How many tokens there are, padding not counted.
    pub fn tokens(&self) -> usize {
        self.samples.iter().map(Sample::len).sum()
    }

    /// How many targets the loss counts.
    pub fn loss_tokens(&self) -> usize {
        self.samples.iter().map(Sample::loss_tokens).sum()
    }

    /// One number a token more than the largest in it: a model's vocabulary has to be at least as large.
    pub fn vocab_size(&self) -> i64 {
        let largest = self.samples.iter().flat_map(Sample::tokens).max();
        largest.map_or(0, |token| i64::from(*token) + 1)
    }

    /// A hash (SHA-256, hexadecimal) of everything that training sees.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        for sample in &self.samples {
            hash.update((sample.len() as u64).to_le_bytes());
            sample.tokens.iter().chain(&sample.segments).for_each(|word| hash.update(word.to_le_bytes()));
            sample.counts.iter().for_each(|counts| hash.update([u8::from(*counts)]));
        }
        format!("{:x}", hash.finalize())
    }
}

/// What became of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DataReport {
    /// Documents that were read; a plain text is one.
    pub documents: usize,
    /// Documents that were longer than the sequence length, and cut.
    pub cut: usize,
    /// Lines that were left out.
    pub bad_lines: Vec<BadLine>,
    /// How answers and texts end; a plain text has no ends.
    pub endings: Endings,
}

impl fmt::Display for DataReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} documents, {} cut, {} bad lines", self.documents, self.cut, self.bad_lines.len())
    }
}

/// A file's samples.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Split {
    /// To train on.
    pub train: Dataset,
    /// Held out; without samples if nothing is.
    pub eval: Dataset,
    /// What became of the file.
    pub report: DataReport,
}

/// Reads `path`: the part to train on and the part that is held out.
///
/// Either may be empty, but not both; for a file that is for evaluation alone leave `eval_fraction` at 0 and take `train`.
///
/// # Errors
/// [`DataError`] when the file cannot be read, has too many bad lines or too few tokens.
pub fn load(path: &Path, options: &DataOptions, tokenizer: &mut Tokenizer) -> Result<Split, DataError> {
    check(options)?;
    let io = |source| DataError::Io { path: path.to_owned(), source };
    let bytes = std::fs::read(path).map_err(io)?;
    let text = String::from_utf8(bytes).map_err(|error| DataError::Encoding {
        path: path.to_owned(),
        offset: error.utf8_error().valid_up_to(),
    })?;
    // Some editors put a byte order mark in front, which is no part of the text.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    // A template that writes the date writes the data's own: the same file gives the same tokens on every day.
    if let (Some(template), Ok(date)) =
        (tokenizer.chat_template_mut(), std::fs::metadata(path).and_then(|metadata| metadata.modified()))
    {
        ChatTemplate::set_date(template, date);
    }
    let (split, tokens) = match options.format.unwrap_or_else(|| DataFormat::of(path)) {
        DataFormat::Text => plain_text(text, options, tokenizer)?,
        DataFormat::Jsonl => json_lines(path, text, options, tokenizer)?,
    };
    if split.train.samples.is_empty() && split.eval.samples.is_empty() {
        return Err(DataError::Empty {
            path: path.to_owned(),
            found: tokens,
            length: options.sequence_length,
            bad_lines: split.report.bad_lines,
        });
    }
    for line in &split.report.bad_lines {
        tracing::warn!("{}: {line}: left out", path.display());
    }
    Ok(split)
}

fn check(options: &DataOptions) -> Result<(), DataError> {
    if options.sequence_length < 2 {
        return Err(DataError::Option {
            option: "sequence_length",
            found: options.sequence_length.to_string(),
            expected: "at least 2",
        });
    }
    if !(0.0..=1.0).contains(&options.eval_fraction) {
        return Err(DataError::Option {
            option: "eval_fraction",
            found: options.eval_fraction.to_string(),
            expected: "a number from 0 to 1",
        });
    }
    Ok(())
}

fn plain_text(text: &str, options: &DataOptions, tokenizer: &Tokenizer) -> Result<(Split, usize), DataError> {
    let (train, eval) = text::split(text, options.eval_fraction);
    let mut found = 0;
    let mut dataset = |text: &str| -> Result<Dataset, DataError> {
        let tokens = tokenizer.encode(text, options.text_special_tokens)?;
        found += tokens.len();
        Ok(Dataset::new(text::windows(&tokens, options.sequence_length), tokenizer.pad()))
    };
    let (train, eval) = (dataset(train)?, dataset(eval)?);
    let report = DataReport { documents: 1, ..DataReport::default() };
    Ok((Split { train, eval, report }, found))
}

fn json_lines(
    path: &Path,
    text: &str,
    options: &DataOptions,
    tokenizer: &Tokenizer,
) -> Result<(Split, usize), DataError> {
    let mut report = DataReport::default();
    let mut documents = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let read = Record::parse(line).and_then(|record| {
            let document = Document::encode(&record, tokenizer)?;
            Ok((record, document))
        });
        match read {
            Ok((record, document)) => {
                report.endings.add(&record, &document, tokenizer)?;
                documents.push(document);
            }
            Err(reason) => report.bad_lines.push(BadLine { line: index + 1, reason }),
        }
        if report.bad_lines.len() > options.max_bad_lines {
            return Err(DataError::BadLines {
                path: path.to_owned(),
                limit: options.max_bad_lines,
                lines: report.bad_lines,
            });
        }
    }
    report.documents = documents.len();
    let found = documents.iter().map(|document| document.tokens.len()).sum();
    #[allow(clippy::cast_precision_loss, reason = "files have fewer than 2^53 lines")]
    let kept = documents.len() as f64 * (1.0 - options.eval_fraction);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a fraction of a count")]
    let (train, eval) = documents.split_at((kept.round() as usize).min(documents.len()));
    let mut dataset = |documents: &[Document]| {
        let (samples, cut) = arrange::arrange(documents, options.arrangement, options.sequence_length);
        report.cut += cut;
        Dataset::new(samples, tokenizer.pad())
    };
    let (train, eval) = (dataset(train), dataset(eval));
    Ok((Split { train, eval, report }, found))
}
