//! `qtuner preview`: the first samples token by token.

use crate::failure::Failure;
use crate::output::{self, JsonFlag, Reader};
use crate::warning::Warning;
use clap::ValueEnum;
use qtuner_train::data::{self, Arrangement, DataReport, Preview};
use qtuner_train::{DataOptions, Tokenizer};
use serde::Serialize;
use std::path::PathBuf;

/// Arguments of `qtuner preview`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A token counts in the loss where the column says yes: in JSONL with prompts or messages, that is the answers. Below stand the
tokens that answers end in, and a warning where the model would not learn to stop.

Example:
  qtuner preview --model my-model-awq --data chats.jsonl --samples 1")]
pub(crate) struct PreviewArgs {
    /// Folder with the tokenizer: the checkpoint's
    #[arg(long, alias = "tokenizer", value_name = "FOLDER")]
    model: PathBuf,
    /// The data file
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// How many samples
    #[arg(long, value_name = "N", default_value_t = 2)]
    samples: usize,
    /// Tokens in a row
    #[arg(long, value_name = "N", default_value_t = 512)]
    sequence_length: usize,
    /// How JSONL documents become rows
    #[arg(long, default_value = "packed")]
    arrangement: ArrangementFlag,
    /// Bad lines that are left out before the file is refused
    #[arg(long, value_name = "N", default_value_t = 10)]
    max_bad_lines: usize,
    #[command(flatten)]
    json: JsonFlag,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ArrangementFlag {
    /// Several documents a row, which do not see each other
    Packed,
    /// One document a row
    Padded,
}

/// What is seen, for programs.
#[derive(Debug, Serialize)]
struct Seen<'a> {
    #[serde(flatten)]
    preview: &'a Preview,
    report: &'a DataReport,
    warnings: &'a [Warning],
}

/// Prints the samples.
pub(crate) fn run(args: &PreviewArgs) -> Result<(), Failure> {
    let mut tokenizer = Tokenizer::open(&args.model)?;
    let mut options = DataOptions::default();
    options.sequence_length = args.sequence_length;
    options.max_bad_lines = args.max_bad_lines;
    options.arrangement = match args.arrangement {
        ArrangementFlag::Packed => Arrangement::Packed,
        ArrangementFlag::Padded => Arrangement::Padded,
    };
    let split = data::load(&args.data, &options, &mut tokenizer)?;
    let preview = data::preview(&split.train, &tokenizer, args.samples)?;
    let report = &split.report;
    let warnings = Warning::about_stops(report, &tokenizer, &args.model);
    match args.json.reader() {
        Reader::Program => output::json(&Seen { preview: &preview, report, warnings: &warnings }),
        Reader::Person => {
            output::part(&preview.to_string())?;
            let (samples, tokens) = (split.train.samples().len(), split.train.tokens());
            output::line(format_args!("{samples} samples, {tokens} tokens; {report}"))?;
            output::part(&report.endings.to_string())?;
            warnings.iter().for_each(Warning::say);
            Ok(())
        }
    }
}
