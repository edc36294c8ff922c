//! Whose libtorch is built with: the user's, if the environment says so, or the workspace's.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::Error;

/// Where the build takes libtorch from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// `LIBTORCH_USE_PYTORCH`: torch-sys asks Python; any value counts, even an empty one.
    Python,
    /// `LIBTORCH`, set by the user.
    Folder(PathBuf),
    /// `.libtorch`, made by us.
    Workspace,
}

/// Reads the two variables in the order in which torch-sys does.
pub(crate) fn from_environment(ours: &Path) -> Result<Choice, Error> {
    choose(std::env::var_os("LIBTORCH_USE_PYTORCH"), std::env::var_os("LIBTORCH"), ours)
}

/// `ours` as LIBTORCH is no choice of the user's: cargo sets it for us too, from `.cargo/config.toml`.
fn choose(python: Option<OsString>, folder: Option<OsString>, ours: &Path) -> Result<Choice, Error> {
    match (python, folder.map(PathBuf::from)) {
        (Some(_), _) => Ok(Choice::Python),
        (None, Some(folder)) if folder == ours => Ok(Choice::Workspace),
        (None, Some(folder)) if folder.is_absolute() => Ok(Choice::Folder(folder)),
        (None, Some(folder)) => Err(Error::RelativeChoice(folder)),
        (None, None) => Ok(Choice::Workspace),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(python: Option<&str>, folder: Option<&str>) -> Result<Choice, String> {
        choose(python.map(Into::into), folder.map(Into::into), Path::new("/ws/.libtorch"))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_users_libtorch_wins() {
        assert_eq!(check(None, Some("/opt/torch")), Ok(Choice::Folder("/opt/torch".into())));
        assert_eq!(check(Some("1"), None), Ok(Choice::Python));
        assert_eq!(check(Some(""), Some("/opt/torch")), Ok(Choice::Python));
    }

    #[test]
    fn what_cargo_sets_from_the_workspace_is_not_the_users_choice() {
        assert_eq!(check(None, None), Ok(Choice::Workspace));
        assert_eq!(check(None, Some("/ws/.libtorch")), Ok(Choice::Workspace));
    }

    #[test]
    fn a_relative_or_empty_choice_is_refused() {
        for folder in ["", "torch"] {
            let message = check(None, Some(folder)).expect_err("not absolute");
            assert!(message.contains("not an absolute path") && message.contains("unset it"), "{message}");
        }
    }
}
