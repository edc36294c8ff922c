//! `cargo xtask ci`: the gate, step by step, cheapest first; it stops at the first failure.

use std::process::Command;

use crate::workspace::{self, Workspace};
use crate::{Error, compiler, libtorch, test, tidy};

type Step = fn(&Workspace) -> Result<(), Error>;

const STEPS: [(&str, Step); 7] = [
    ("format", |workspace| {
        cargo(&mut workspace.cargo(&["fmt", "--all", "--check"]))?;
        // A workspace of its own.
        cargo(&mut workspace.cargo(&["fmt", "--manifest-path", "tests/emulated/Cargo.toml", "--check"]))
    }),
    ("tidy", |workspace| Ok(tidy::run(workspace)?)),
    ("compiler", |_| Ok(compiler::check()?)),
    ("libtorch", |workspace| Ok(libtorch::ensure(workspace)?)),
    ("clippy", |workspace| {
        cargo(&mut workspace.cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
    }),
    ("docs", |workspace| {
        cargo(workspace.cargo(&["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
    }),
    ("test", |workspace| test::run(workspace, &[])),
];

/// Runs every step; the error names the one that failed.
pub(crate) fn run(workspace: &Workspace) -> Result<(), Error> {
    for (step, perform) in STEPS {
        eprintln!("== {step}");
        perform(workspace).map_err(|source| Error::Gate { step, source: Box::new(source) })?;
    }
    eprintln!("== all {} steps passed", STEPS.len());
    Ok(())
}

fn cargo(command: &mut Command) -> Result<(), Error> {
    Ok(workspace::run(command)?)
}
