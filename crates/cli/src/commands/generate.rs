//! `qtuner generate`: a prompt continued, streamed, with adapters side by side if wanted.

use crate::causal::Causal;
use crate::columns;
use crate::failure::Failure;
use crate::output;
use crate::text_stream::TextStream;
use crate::variants::{ModelFlags, Variant};
use crate::warning::Warning;
use qtuner_models::GenerationOptions;
use qtuner_train::chat::GenerationPrompt;
use qtuner_train::{SpecialTokens, Tokenizer};
use std::io::{IsTerminal, Read};
use std::ops::ControlFlow;
use std::path::PathBuf;

/// Arguments of `qtuner generate`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  qtuner generate --model my-model-awq --prompt \"Once upon a time\"
  qtuner generate --model my-model-awq --adapter my-adapter --compare --temperature 0.8 --prompt \"Once upon a time\"
  qtuner generate --model my-model-awq --chat < question.txt")]
pub(crate) struct GenerateArgs {
    #[command(flatten)]
    model: ModelFlags,
    /// Adapter folder, may be given more than once; each answers for itself
    #[arg(long, value_name = "FOLDER")]
    adapter: Vec<PathBuf>,
    /// Show what the base model says, too: side by side where the terminal is wide enough
    #[arg(long, requires = "adapter")]
    compare: bool,
    /// The text to continue [default: stdin]
    #[arg(long, short, value_name = "TEXT")]
    prompt: Option<String>,
    /// The prompt is a user's message: put it into the model's chat template, and stop where that ends a turn, too
    #[arg(long)]
    chat: bool,
    #[command(flatten)]
    sampling: SamplingFlags,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Sampling", allow_negative_numbers = true)]
struct SamplingFlags {
    /// New tokens at most
    #[arg(long, value_name = "N", default_value_t = 128)]
    max_new_tokens: usize,
    /// 0 takes the likeliest token; higher is more varied
    #[arg(long, value_name = "T", default_value_t = 0.0)]
    temperature: f64,
    /// Draw from the N likeliest tokens alone
    #[arg(long, value_name = "N")]
    top_k: Option<usize>,
    /// Draw from the likeliest tokens that together have probability P
    #[arg(long, value_name = "P")]
    top_p: Option<f64>,
    /// Above 1, tokens that were said become less likely
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    repetition_penalty: f64,
    /// The same seed says the same
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

/// Generates and prints.
pub(crate) fn run(args: &GenerateArgs) -> Result<(), Failure> {
    let options = GenerationOptions {
        max_new_tokens: args.sampling.max_new_tokens,
        temperature: args.sampling.temperature,
        top_k: args.sampling.top_k,
        top_p: args.sampling.top_p,
        repetition_penalty: args.sampling.repetition_penalty,
        seed: args.sampling.seed,
        eos_token_ids: None,
    };
    options
        .validate()
        .map_err(|error| Failure::usage(error, "`qtuner generate --help` says what each option takes"))?;
    Warning::about_sampling(&options).iter().for_each(Warning::say);
    let tokenizer = args.model.tokenizer()?;
    let prompt = Prompt::of(args, &tokenizer)?;
    let variants: Vec<Variant> = match (&args.adapter[..], args.compare) {
        ([], _) => vec![Variant::Base],
        (adapters, true) => Variant::base_and(adapters),
        (adapters, false) => adapters.iter().cloned().map(Variant::Adapter).collect(),
    };
    let width = console::Term::stdout().size_checked().map_or(0, |(_, columns)| usize::from(columns));
    let titles: Vec<String> = variants.iter().map(Variant::label).collect();
    let fits = variants.len() > 1 && columns::side_by_side(&titles, &titles, width).is_some();
    let (mut texts, mut too_long) = (Vec::new(), None);
    args.model.with_each(&variants, |variant, model| {
        model.refuse_tokens(prompt.tokens.iter().max().map_or(0, |token| i64::from(*token) + 1))?;
        let text = if fits {
            prompt.continued(model, &options, &tokenizer, |_| Ok(()))?
        } else {
            if variants.len() > 1 {
                output::line(format_args!("--- {}", variant.label()))?;
            }
            output::part(&prompt.shown)?;
            let text = prompt.continued(model, &options, &tokenizer, output::part)?;
            output::line("")?;
            text
        };
        too_long = too_long.take().or(Warning::about_context(text.tokens, model.inner().config()));
        if fits {
            texts.push(prompt.shown.clone() + &text.continuation);
        }
        Ok(())
    })?;
    if fits {
        output::part(&columns::side_by_side(&titles, &texts, width).unwrap_or_default())?;
    }
    too_long.iter().for_each(Warning::say);
    Ok(())
}

/// What is continued.
struct Prompt {
    /// What is shown of it before the continuation.
    shown: String,
    tokens: Vec<u32>,
    /// The token that ends an answer, beside those of the model.
    turn_end: Option<u32>,
}

/// A text that was generated.
struct Text {
    continuation: String,
    /// Of the prompt and its continuation together.
    tokens: usize,
}

impl Prompt {
    fn of(args: &GenerateArgs, tokenizer: &Tokenizer) -> Result<Self, Failure> {
        let text = match &args.prompt {
            Some(text) => text.clone(),
            None => from_stdin()?,
        };
        let (shown, tokens, turn_end) = if args.chat {
            let template = tokenizer.chat_template().ok_or_else(|| {
                let message = format!("{}: the folder has no chat template", args.model.model.display());
                Failure::new(message, "leave out --chat, and write the prompt as the model knows it")
            })?;
            let message = serde_json::json!({ "role": "user", "content": text });
            let text = template.render(&[message], None, GenerationPrompt::Add)?;
            // The template writes the special tokens itself.
            (String::new(), tokenizer.encode(&text, SpecialTokens::Skip)?, tokenizer.turn_end())
        } else {
            let tokens = tokenizer.encode(&text, SpecialTokens::Keep)?;
            (text, tokens, None)
        };
        if tokens.is_empty() {
            return Err(Failure::usage("the prompt is empty", "--prompt TEXT, or a text on stdin"));
        }
        Ok(Self { shown, tokens, turn_end })
    }

    /// The continuation, each piece of which `show` gets as it comes.
    fn continued(
        &self,
        model: &Causal,
        options: &GenerationOptions,
        tokenizer: &Tokenizer,
        mut show: impl FnMut(&str) -> Result<(), Failure>,
    ) -> Result<Text, Failure> {
        let mut stops = model.inner().config().eos_token_ids.clone();
        stops.extend(self.turn_end.map(i64::from));
        let options = &GenerationOptions { eos_token_ids: Some(stops.clone()), ..options.clone() };
        let mut stream = TextStream::after(tokenizer, &self.tokens);
        let mut text = String::new();
        let mut outcome = Ok(());
        let prompt = self.tokens.iter().map(|token| i64::from(*token)).collect();
        let new = model.inner().generate(&[prompt], options, |_, token| {
            // What ends a text is no part of it.
            if stops.contains(&token) {
                return ControlFlow::Continue(());
            }
            let piece = u32::try_from(token).map_or(Ok(String::new()), |token| stream.push(token));
            outcome = piece.map_err(Failure::from).and_then(|piece| {
                text.push_str(&piece);
                show(&piece)
            });
            if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        outcome?;
        let rest = stream.finish()?;
        show(&rest)?;
        let tokens = self.tokens.len() + new.iter().map(Vec::len).sum::<usize>();
        Ok(Text { continuation: text + &rest, tokens })
    }
}

/// All of stdin, without the line break at its end.
fn from_stdin() -> Result<String, Failure> {
    if std::io::stdin().is_terminal() {
        output::note("the prompt, then Ctrl-D:");
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).map_err(|error| {
        Failure::new(format!("stdin: {error}"), "--prompt TEXT, or a text in UTF-8 on stdin")
    })?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}
