//! The CPU libtorch tree `.libtorch`: the headers and libraries out of torch's own wheels, and no more.
//!
//! Invariant: `.libtorch` appears by one rename of a finished, synced tree. Everything before that happens in
//! `.libtorch.partial`, under a lock, and can be killed at any moment:
//!
//! - `wheels/<name>-<version>-<tag>/` appears by a rename, too, of a wheel that pip has checked;
//! - `run-<process>/` is one run's own. The Python of a killed run may go on for a while, and must not write into
//!   the next one's files.

mod choice;
mod download;
mod error;
mod lock;
mod make;
mod platform;
mod progress;
mod python;
mod tree;
mod unpack;

pub(crate) use error::Error;

use crate::workspace::Workspace;
use choice::Choice;
use platform::Platform;

/// The torch release that `tch` is written for; torch-sys refuses any other.
const VERSION: &str = "2.13.0";

/// Makes sure the workspace has a libtorch to build with, downloading it if there is none.
/// A `LIBTORCH` or `LIBTORCH_USE_PYTORCH` of the user's is left alone, and named.
pub(crate) fn ensure(workspace: &Workspace) -> Result<(), Error> {
    let ours = workspace.libtorch();
    match choice::from_environment(&ours)? {
        Choice::Python => eprintln!("libtorch: the PyTorch of your Python, as LIBTORCH_USE_PYTORCH is set"),
        Choice::Folder(folder) => eprintln!("libtorch: {}, as LIBTORCH is set", folder.display()),
        Choice::Workspace => {
            let platform = Platform::host()?;
            if !tree::missing(&ours, platform).is_empty() {
                make::make(workspace.root(), platform)?;
            }
            eprintln!("libtorch: {} ({VERSION})", ours.display());
        }
    }
    Ok(())
}
