//! `qtuner`: LoRA fine-tuning of quantized language models from the command line.
//!
//! One command is one module of `commands`; `settings` is what a training run can be told, by flags and by a file.
//! Exit codes: 0 for success (and for a run that Ctrl-C ended), 1 for a failure, 2 for a command line or configuration file
//! that cannot be meant.

#[cfg(target_os = "linux")]
mod allocator;
mod args;
mod causal;
mod columns;
mod commands;
mod dtype;
mod failure;
mod hints;
mod output;
mod settings;
mod text_stream;
mod variants;
mod warning;

// Backends register themselves when they are linked in, and nothing else names them here.
use qtuner_awq as _;

use args::{Cli, Command};
use clap::Parser;
use failure::Failure;
use std::io::IsTerminal;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    allocator::keep_freed_memory();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and versions are no failures; clap prints them.
        Err(error) if !error.use_stderr() => error.exit(),
        Err(error) => return Failure::unparsed(&error).report(),
    };
    start_tracing();
    // Whatever goes wrong is reported below, in one place and one form.
    std::panic::set_hook(Box::new(|_| {}));
    let outcome = catch_unwind(AssertUnwindSafe(|| run(cli)));
    let outcome = outcome.unwrap_or_else(|payload| Err(Failure::panicked(payload.as_ref())));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    if let Some(threads) = cli.threads {
        tch::set_num_threads(i32::from(threads));
    }
    match cli.command {
        Command::Train(args) => commands::train::run(&args),
        Command::Generate(args) => commands::generate::run(&args),
        Command::Eval(args) => commands::eval::run(&args),
        Command::Inspect(args) => commands::inspect::run(&args),
        Command::Preview(args) => commands::preview::run(&args),
        Command::Backends(args) => commands::backends::run(&args),
        Command::Env(args) => commands::env::run(&args),
        Command::Completions(args) => commands::completions::run(&args),
    }
}

/// Warnings go to stderr; `RUST_LOG` asks for more, or for less.
fn start_tracing() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .without_time()
        // A stderr that cannot be written is no reason to end.
        .log_internal_errors(false)
        .init();
}
