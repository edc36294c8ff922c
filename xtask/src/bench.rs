//! `cargo xtask bench`: the tables of the GEMM benchmark, which prints them itself.

use crate::workspace::{self, Workspace};
use crate::{Error, compiler, libtorch};

/// Makes libtorch where needed, then runs the GEMM benchmark. `arguments` are the benchmark's own.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<(), Error> {
    compiler::check()?;
    libtorch::ensure(workspace)?;
    workspace::run(workspace.cargo(&["bench", "-p", "qtuner-awq", "--bench", "gemm", "--"]).args(arguments))?;
    Ok(())
}
