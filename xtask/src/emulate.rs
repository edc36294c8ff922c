//! `cargo xtask emulate`: the kernels' tests for 64-bit Arm, on a machine that is something else.

use std::path::Path;
use std::process::Command;

use crate::compiler::runs;
use crate::workspace::{self, Workspace};

const TARGET: &str = "aarch64-unknown-linux-gnu";
const LINKER: &str = "aarch64-linux-gnu-gcc";
const EMULATOR: &str = "qemu-aarch64";
/// Where Debian keeps the target's C library.
const C_LIBRARY: &str = "/usr/aarch64-linux-gnu";

/// The tests could not be run, or failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Something has to be installed first.
    #[error("to emulate {TARGET}, install {0}")]
    Missing(String),
    /// The tests failed; their own messages stand above this one.
    #[error(transparent)]
    Run(#[from] workspace::Error),
}

/// What emulation takes, how to get it, and whether it is there.
type Need = (&'static str, &'static str, fn() -> bool);

const NEEDS: [Need; 4] = [
    ("Rust's libraries for it", "`rustup target add aarch64-unknown-linux-gnu`", has_libraries),
    (LINKER, "Debian, Ubuntu: `apt-get install gcc-aarch64-linux-gnu`", || runs(LINKER)),
    (C_LIBRARY, "Debian, Ubuntu: `apt-get install libc6-dev-arm64-cross`", || Path::new(C_LIBRARY).is_dir()),
    (EMULATOR, "Debian, Ubuntu: `apt-get install qemu-user`", || runs(EMULATOR)),
];

/// Builds `tests/emulated`, a workspace of its own that holds the kernels without libtorch, and runs its tests.
pub(crate) fn run(workspace: &Workspace) -> Result<(), Error> {
    check(&NEEDS)?;
    let mut command =
        workspace.cargo(&["test", "--manifest-path", "tests/emulated/Cargo.toml", "--target", TARGET]);
    command.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", LINKER);
    command.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", format!("{EMULATOR} -L {C_LIBRARY}"));
    Ok(workspace::run(&mut command)?)
}

/// The error lists all that is missing, so that one round of installing is enough.
fn check(needs: &[Need]) -> Result<(), Error> {
    let missing: Vec<String> = needs
        .iter()
        .filter(|(_, _, is_there)| !is_there())
        .map(|(name, way, _)| format!("{name} ({way})"))
        .collect();
    if missing.is_empty() { Ok(()) } else { Err(Error::Missing(missing.join(", "))) }
}

/// Whether rustc finds the target's libraries where it looks for them.
fn has_libraries() -> bool {
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "target-libdir", "--target", TARGET]);
    let output = rustc.output().ok().filter(|output| output.status.success());
    output
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .is_some_and(|folder| Path::new(folder.trim_end()).is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_missing_is_named_with_the_way_to_get_it() {
        let needs: [Need; 3] = [("a", "get a", || false), ("b", "get b", || true), ("c", "get c", || false)];
        let error = check(&needs).expect_err("two are missing").to_string();
        assert_eq!(error, "to emulate aarch64-unknown-linux-gnu, install a (get a), c (get c)");
        assert!(check(&needs[1..2]).is_ok());
    }
}
