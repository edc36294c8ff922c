//! `cargo xtask bench`: the table of GEMM timings; the benchmark prints it itself.

use crate::workspace::{self, Workspace};
use crate::{Error, compiler, libtorch};

/// Makes libtorch where needed, then runs the GEMM benchmark. `arguments` go to `cargo bench` as they are.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<(), Error> {
    compiler::check()?;
    libtorch::ensure(workspace)?;
    workspace::run(workspace.cargo(&["bench", "-p", "qtuner-awq", "--bench", "gemm"]).args(arguments))?;
    Ok(())
}
