//! The repository's files: what git tracks, and what it would if asked to add everything.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Error;

/// Paths relative to `root`, in order. Without git, or outside a checkout, the folder's files stand in, but for
/// build output and what hides behind a dot.
pub(crate) fn of_repository(root: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut files = match listed_by_git(root) {
        Some(files) => files,
        None => walk(root, Path::new(""))?,
    };
    files.sort();
    files.dedup();
    Ok(files)
}

fn listed_by_git(root: &Path) -> Option<Vec<PathBuf>> {
    let mut command = Command::new("git");
    command.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root);
    let output = command.output().ok().filter(|output| output.status.success())?;
    let names = String::from_utf8(output.stdout).ok()?;
    let files = names.split_terminator('\0').map(PathBuf::from);
    // A file that is deleted and not yet committed so is still listed.
    Some(files.filter(|file| root.join(file).is_file()).collect())
}

fn walk(root: &Path, folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let path = root.join(folder);
    let unreadable = |source| Error::Read { path: path.clone(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&path).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name();
        if name == "target" || name.to_string_lossy().starts_with('.') {
            continue;
        }
        let kind = entry.file_type().map_err(unreadable)?;
        if kind.is_dir() {
            files.extend(walk(root, &folder.join(name))?);
        } else if kind.is_file() {
            files.push(folder.join(name));
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_git_the_folders_files_stand_in() {
        let root = tempfile::tempdir().expect("a temporary folder");
        for file in ["Cargo.toml", "src/lib.rs", "target/debug/build.rs", ".libtorch/include/a.h", ".hidden"]
        {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().expect("inside the folder")).expect("writable");
            std::fs::write(path, "").expect("writable");
        }
        let mut files = walk(root.path(), Path::new("")).expect("readable");
        files.sort();
        assert_eq!(files, [Path::new("Cargo.toml"), Path::new("src/lib.rs")]);
    }
}
