//! `cargo xtask`: sets the workspace up, tests it, measures it. Builds without libtorch.
//!
//! Each command is one module. Whatever goes wrong ends as one sentence on stderr and exit code 1.

mod bench;
mod checkpoint;
mod ci;
mod compiler;
mod demo;
mod emulate;
mod libtorch;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use workspace::Workspace;

const USAGE: &str = "\
usage: cargo xtask <command>

  libtorch          make the CPU libtorch tree `.libtorch`, once
  test [ARGS...]    libtorch, then every test of the workspace (`cargo test --workspace ARGS`)
  bench [ARGS...]   libtorch, then the GEMM benchmark: times, ratios and their goals, memory (`bench --help`)
  demo              libtorch, then a real fine-tuning: Shakespeare for a small AWQ model, about two minutes on 2 cores
  make-checkpoint --shape NAME FOLDER
                    an AWQ checkpoint of random weights in a known model's shape, to measure on
  emulate           the kernels' tests for 64-bit Arm, emulated by qemu: about two minutes on 2 cores
  tidy              the house rules that compilers do not check
  ci                the gate: format, tidy, libtorch, clippy, docs, test

A LIBTORCH or LIBTORCH_USE_PYTORCH of your own is used as it is, and nothing is downloaded.
";

/// What a command can end in; the message is the user's one sentence.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Workspace(#[from] workspace::Error),
    #[error(transparent)]
    Compiler(#[from] compiler::Error),
    #[error(transparent)]
    Libtorch(#[from] libtorch::Error),
    #[error(transparent)]
    Tidy(#[from] tidy::Error),
    #[error(transparent)]
    Checkpoint(#[from] checkpoint::Error),
    #[error(transparent)]
    Emulate(#[from] emulate::Error),
    #[error("cannot remove {}: {source}", .path.display())]
    Clear { path: std::path::PathBuf, source: std::io::Error },
    #[error("the gate stopped at `{step}`: {source}")]
    Gate { step: &'static str, source: Box<Error> },
    #[error("unknown command `{command}`\n\n{USAGE}")]
    UnknownCommand { command: String },
    #[error("`{command}` takes no arguments, found `{argument}`")]
    UnexpectedArgument { command: String, argument: String },
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<(), Error> {
    let Some((command, rest)) = arguments.split_first() else {
        print!("{USAGE}");
        return Ok(());
    };
    let workspace = Workspace::current();
    match command.as_str() {
        "test" => return test::run(&workspace, rest),
        "bench" => return bench::run(&workspace, rest),
        "make-checkpoint" => return Ok(checkpoint::run(&workspace, rest)?),
        _ => {}
    }
    if let Some(argument) = rest.first() {
        return Err(Error::UnexpectedArgument { command: command.clone(), argument: argument.clone() });
    }
    match command.as_str() {
        "libtorch" => Ok(libtorch::ensure(&workspace)?),
        "tidy" => Ok(tidy::run(&workspace)?),
        "ci" => ci::run(&workspace),
        "demo" => demo::run(&workspace),
        "emulate" => Ok(emulate::run(&workspace)?),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(())
        }
        _ => Err(Error::UnknownCommand { command: command.clone() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_command_is_named_and_answered_with_the_usage() {
        let error = run(&["tset".to_owned()]).expect_err("no such command").to_string();
        assert!(error.contains("`tset`") && error.contains(USAGE), "{error}");
    }

    #[test]
    fn a_command_without_arguments_refuses_them() {
        let error = run(&["tidy".to_owned(), "--fix".to_owned()]).expect_err("tidy takes none").to_string();
        assert_eq!(error, "`tidy` takes no arguments, found `--fix`");
    }
}
