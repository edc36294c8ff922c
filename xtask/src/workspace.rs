//! The workspace's root folder, and cargo run inside it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

/// A command of the workspace that could not be started or did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The program is not there, or not executable.
    #[error("cannot start `{command}`: {source}")]
    Start {
        /// The command line, as printed.
        command: String,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// The program ran and failed; its own messages stand above this one.
    #[error("`{command}` failed ({status})")]
    Failed {
        /// The command line, as printed.
        command: String,
        /// How it ended.
        status: ExitStatus,
    },
}

/// The workspace this program belongs to.
#[derive(Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// The workspace whose `xtask` crate cargo is running.
    pub(crate) fn current() -> Self {
        let xtask = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = xtask.parent().map_or_else(|| xtask.clone(), Path::to_path_buf);
        Self { root }
    }

    /// The folder that holds the workspace's `Cargo.toml`.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where `cargo xtask libtorch` puts its tree, and where `.cargo/config.toml` points LIBTORCH.
    pub(crate) fn libtorch(&self) -> PathBuf {
        self.root.join(".libtorch")
    }

    /// The cargo that runs this program, in the root folder, as if the user had called it.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(arguments).current_dir(&self.root);
        for (name, value) in std::env::vars_os() {
            if set_by_cargo_run(&name, &value, &self.libtorch()) {
                command.env_remove(name);
            }
        }
        command
    }
}

/// Whether a variable is there only because cargo runs us. Cargo sets its own anew in what it starts;
/// one that is inherited looks like the user's, and makes build scripts run again in a plain `cargo test`.
fn set_by_cargo_run(name: &OsString, value: &OsString, libtorch: &Path) -> bool {
    match name.to_str() {
        Some("LIBTORCH") => Path::new(value) == libtorch,
        Some("CARGO_MANIFEST_DIR" | "CARGO_MANIFEST_PATH") => true,
        Some(name) => name.starts_with("CARGO_PKG_"),
        None => false,
    }
}

/// Prints the command line, runs it, and waits for its success.
pub(crate) fn run(command: &mut Command) -> Result<(), Error> {
    let line = line_of(command);
    eprintln!("$ {line}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Error::Failed { command: line, status }),
        Err(source) => Err(Error::Start { command: line, source }),
    }
}

/// The command as one would type it: the program's bare name, then its arguments.
fn line_of(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_stem().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| quoted(&word.to_string_lossy())).collect::<Vec<_>>().join(" ")
}

/// A word for a shell: in quotes where a blank would cut it.
fn quoted(word: &str) -> String {
    if word.contains(char::is_whitespace) { format!("\"{word}\"") } else { word.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_cargo_injected_is_taken_out_of_the_environment() {
        let check = |name: &str, value: &str| {
            set_by_cargo_run(&name.into(), &value.into(), Path::new("/ws/.libtorch"))
        };
        assert!(check("LIBTORCH", "/ws/.libtorch"));
        assert!(check("CARGO_MANIFEST_DIR", "/ws/xtask"));
        assert!(check("CARGO_PKG_NAME", "xtask"));
        assert!(!check("LIBTORCH", "/opt/libtorch"));
        assert!(!check("LIBTORCH_USE_PYTORCH", "1"));
        assert!(!check("CARGO_TARGET_DIR", "/elsewhere"));
        assert!(!check("QTUNER_ISA", "avx2"));
    }

    #[test]
    fn a_command_is_printed_as_one_would_type_it() {
        let mut command = Command::new("/some/toolchain/bin/cargo");
        command.args(["run", "--", "--prompt", "First Citizen:"]);
        assert_eq!(line_of(&command), "cargo run -- --prompt \"First Citizen:\"");
    }

    #[test]
    fn a_failing_command_is_an_error_that_names_it() {
        let workspace = Workspace::current();
        let mut command = workspace.cargo(&["--no-such-flag"]);
        command.stderr(std::process::Stdio::null());
        let error = run(&mut command).expect_err("cargo refuses the flag").to_string();
        assert!(error.starts_with("`cargo --no-such-flag` failed"), "{error}");
    }
}
