//! `qtuner completions`.

use crate::args::Cli;
use crate::failure::Failure;
use crate::output;
use clap::CommandFactory;
use clap_complete::Shell;

/// Arguments of `qtuner completions`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  qtuner completions bash > ~/.local/share/bash-completion/completions/qtuner"
)]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Prints the script.
pub(crate) fn run(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "qtuner", &mut script);
    output::part(&String::from_utf8_lossy(&script))
}
