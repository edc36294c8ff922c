//! Why there is no libtorch tree, each with the way out.

use std::path::PathBuf;
use std::process::ExitStatus;

use super::VERSION;

/// What stops `cargo xtask libtorch`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No wheels are known for this operating system and processor.
    #[error(
        "no libtorch wheels are known for {0}: set LIBTORCH to the folder of a libtorch {VERSION} of your own, or \
         LIBTORCH_USE_PYTORCH=1 to use an installed PyTorch {VERSION}"
    )]
    Platform(String),
    /// LIBTORCH would mean another folder to each crate.
    #[error("LIBTORCH is set to `{}`, which is not an absolute path: make it absolute, or unset it", .0.display())]
    RelativeChoice(PathBuf),
    /// No Python that runs.
    #[error(
        "no Python 3.8 or newer found (tried {tried}): install one (Debian, Ubuntu: `apt-get install python3 \
         python3-pip`), or set LIBTORCH to the folder of a libtorch {VERSION} of your own"
    )]
    NoPython {
        /// The names tried, and the versions found.
        tried: String,
    },
    /// Python runs, pip does not.
    #[error("{python} (Python {version}) has no pip: {}", way_to_pip(.python, *.ensurepip))]
    NoPip {
        /// The interpreter's name.
        python: String,
        /// Its version.
        version: String,
        /// Whether it can install pip by itself.
        ensurepip: Ensurepip,
    },
    /// Python was found and then did not do a small task.
    #[error("`{python}` failed at {task} ({status}):\n{output}")]
    Python {
        /// The interpreter's name.
        python: String,
        /// What it was asked to do.
        task: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        output: String,
    },
    /// The download and the tree would not fit.
    #[error(
        "too little disk space in {}: {needed} MB more are needed while libtorch is made, {free} MB are free: free \
         some, or set LIBTORCH to the folder of a libtorch {VERSION} of your own", .folder.display()
    )]
    DiskSpace {
        /// The workspace's root.
        folder: PathBuf,
        /// Megabytes that have yet to be written, at the peak.
        needed: u64,
        /// Megabytes free.
        free: u64,
    },
    /// pip failed.
    #[error(
        "pip could not download {wheel} ({status}): check the network and pip's settings (`{python} -m pip config \
         list`), then run the command again; pip's own words:\n{output}"
    )]
    Download {
        /// Name and version.
        wheel: String,
        /// The interpreter's name.
        python: String,
        /// How pip ended.
        status: ExitStatus,
        /// What pip said.
        output: String,
    },
    /// pip succeeded and left no whole wheel.
    #[error("pip reported success, but left no whole wheel of {wheel}: run the command again")]
    NoWheel {
        /// Name and version.
        wheel: String,
    },
    /// A wheel does not unpack; it has been removed.
    #[error("the downloaded wheel of {wheel} is damaged and was removed: run the command again ({reason})")]
    DamagedWheel {
        /// Name and version.
        wheel: String,
        /// Python's reason.
        reason: String,
    },
    /// Everything unpacked, and still files are missing: the table of platforms is wrong.
    #[error(
        "the wheels did not hold {missing}: set LIBTORCH to the folder of a libtorch {VERSION} of your own, and \
         correct the table in xtask/src/libtorch/platform.rs"
    )]
    Incomplete {
        /// What the wheels should have held.
        missing: String,
    },
    /// A file operation failed.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
}

/// Whether a Python without pip brings the module that installs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ensurepip {
    /// `python -m ensurepip` works.
    Present,
    /// Taken out by the distribution.
    Absent,
}

fn way_to_pip(python: &str, ensurepip: Ensurepip) -> String {
    let package = "install it (Debian, Ubuntu: `apt-get install python3-pip`)";
    match ensurepip {
        Ensurepip::Present => format!("{package}, or run `{python} -m ensurepip`"),
        Ensurepip::Absent => package.to_owned(),
    }
}

/// Turns an [`std::io::Error`] into [`Error::Io`] that says what was being done, and to what.
pub(crate) fn cannot(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.into();
    move |source| Error::Io { action, path, source }
}
