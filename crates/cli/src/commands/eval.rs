//! `qtuner eval`: loss and perplexity of a base model and of adapters on a file.

use crate::failure::Failure;
use crate::output::{self, JsonFlag, Reader};
use crate::variants::{ModelFlags, Variant};
use crate::warning::Warning;
use indicatif::{ProgressBar, ProgressStyle};
use qtuner_train::data::Sample;
use qtuner_train::{DataOptions, Dataset, Evaluation, data, evaluate};
use serde::Serialize;
use std::path::PathBuf;

/// Arguments of `qtuner eval`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The loss is the mean over all targets, in nats; the perplexity is its exponential.

Example:
  qtuner eval --model my-model-awq --adapter my-adapter --data my-text.txt --last-fraction 0.05")]
pub(crate) struct EvalArgs {
    #[command(flatten)]
    model: ModelFlags,
    /// Adapter folder, may be given more than once; the base comes first
    #[arg(long, value_name = "FOLDER")]
    adapter: Vec<PathBuf>,
    /// The data file: text or JSONL
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Only the last part of the file, which training may have held out
    #[arg(long, value_name = "PART", default_value_t = 1.0, value_parser = part_of_a_whole)]
    last_fraction: f64,
    /// Only the first so many rows
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    windows: Option<usize>,
    /// Tokens in a row
    #[arg(long, value_name = "N", default_value_t = 512)]
    sequence_length: usize,
    /// Rows in one forward pass
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = at_least_one)]
    batch_size: usize,
    #[command(flatten)]
    json: JsonFlag,
}

fn part_of_a_whole(text: &str) -> Result<f64, String> {
    let part: f64 = text.parse().map_err(|error| format!("{error}"))?;
    if part > 0.0 && part <= 1.0 { Ok(part) } else { Err("expected more than 0 and at most 1".to_owned()) }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    let count: usize = text.parse().map_err(|error| format!("{error}"))?;
    if count > 0 { Ok(count) } else { Err("expected at least 1".to_owned()) }
}

/// The figures of one variant.
#[derive(Debug, Serialize)]
struct Figures {
    name: String,
    adapter: Option<PathBuf>,
    #[serde(flatten)]
    evaluation: Evaluation,
}

/// Evaluates and prints.
pub(crate) fn run(args: &EvalArgs) -> Result<(), Failure> {
    let dataset = load(args)?;
    let mut figures: Vec<Figures> = Vec::new();
    args.model.with_each(&Variant::base_and(&args.adapter), |variant, model| {
        model.refuse_tokens(dataset.vocab_size())?;
        if figures.is_empty() {
            let longest = dataset.samples().iter().map(Sample::longest_document).max().unwrap_or(0);
            Warning::about_context(longest, model.inner().config()).iter().for_each(Warning::say);
        }
        let bar = bar(dataset.samples().len(), variant);
        let evaluation = evaluate(model, &dataset, args.batch_size, |seen| bar.set_position(seen as u64))?;
        bar.finish_and_clear();
        let adapter = variant.adapter().map(PathBuf::from);
        figures.push(Figures { name: variant.label(), adapter, evaluation });
        Ok(())
    })?;
    match args.json.reader() {
        Reader::Program => output::json(&figures)?,
        Reader::Person => output::part(&table(args, &figures))?,
    }
    match figures.iter().find(|figures| figures.evaluation.loss.is_nan()) {
        None => Ok(()),
        Some(Figures { name, .. }) => Err(Failure::new(
            format!("{name}: the loss is NaN, expected a number"),
            "weights or an adapter are not numbers, or too large for --dtype; `qtuner inspect FOLDER` lists such tensors of an adapter",
        )),
    }
}

fn load(args: &EvalArgs) -> Result<Dataset, Failure> {
    let mut options = DataOptions::default();
    options.sequence_length = args.sequence_length;
    options.eval_fraction = args.last_fraction;
    let split = data::load(&args.data, &options, &mut args.model.tokenizer()?)?;
    let samples = split.eval.samples();
    let count = args.windows.unwrap_or(samples.len()).min(samples.len());
    if count == 0 {
        let message = format!("{}: the part to evaluate gives no row", args.data.display());
        return Err(Failure::new(message, "use a larger --last-fraction, or a smaller --sequence-length"));
    }
    Ok(Dataset::new(samples[..count].to_vec(), split.eval.pad()))
}

/// Shown on a terminal only.
fn bar(rows: usize, variant: &Variant) -> ProgressBar {
    let bar = ProgressBar::new(rows as u64);
    if let Ok(style) = ProgressStyle::with_template("{msg} {bar:30} {pos}/{len} rows, {eta} left") {
        bar.set_style(style);
    }
    bar.set_message(variant.label());
    bar
}

fn table(args: &EvalArgs, figures: &[Figures]) -> String {
    let mut rows = vec![["", "loss", "perplexity"].map(str::to_owned).to_vec()];
    rows.extend(figures.iter().map(|Figures { name, evaluation, .. }| {
        vec![name.clone(), format!("{:.5}", evaluation.loss), format!("{:.2}", evaluation.perplexity)]
    }));
    let seen = figures.first().map_or((0, 0), |first| (first.evaluation.samples, first.evaluation.tokens));
    let title = format!("{}: {} rows, {} targets", args.data.display(), seen.0, seen.1);
    format!("{title}\n{}", output::table(&rows, 1))
}
