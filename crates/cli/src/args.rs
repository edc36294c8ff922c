//! The command line.

use crate::commands::{backends, completions, env, eval, generate, inspect, preview, train};
use clap::{Parser, Subcommand};

const EXAMPLES: &str = "\
Examples:
  qtuner inspect my-model-awq
  qtuner train --model my-model-awq --data my-text.txt --output my-adapter
  qtuner generate --model my-model-awq --adapter my-adapter --compare --prompt \"Once upon a time\"

Exit codes: 0 success, 1 failure, 2 a command line or configuration file that cannot be meant.
RUST_LOG=debug shows what happens inside.";

/// LoRA fine-tuning over quantized layers: a checkpoint and a text file in, a PEFT adapter out
#[derive(Debug, Parser)]
#[command(name = "qtuner", version, after_help = EXAMPLES, max_term_width = 110, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// CPU threads to compute with [default: one a core]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    pub(crate) threads: Option<u8>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Train an adapter on a text or JSONL file
    Train(Box<train::TrainArgs>),
    /// Continue a prompt, with or without an adapter, or with both side by side
    Generate(generate::GenerateArgs),
    /// Loss and perplexity of the base model and of adapters on a file
    Eval(eval::EvalArgs),
    /// What a checkpoint or an adapter folder holds, and what is odd about it
    Inspect(inspect::InspectArgs),
    /// The first samples of a data file token by token, with what the loss sees
    Preview(preview::PreviewArgs),
    /// The quantization formats that this program computes with
    Backends(backends::BackendsArgs),
    /// Versions, threads, instruction sets and where libtorch is
    Env(env::EnvArgs),
    /// A completion script for a shell
    Completions(completions::CompletionsArgs),
}
