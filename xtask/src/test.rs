//! `cargo xtask test`: from a fresh clone to every test passed.

use crate::workspace::{self, Workspace};
use crate::{Error, compiler, libtorch};

/// Makes libtorch where needed, then runs unit, integration and doc tests and builds the examples.
/// `arguments` go to `cargo test` as they are.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<(), Error> {
    compiler::check()?;
    libtorch::ensure(workspace)?;
    workspace::run(workspace.cargo(&["test", "--workspace"]).args(arguments))?;
    Ok(())
}
