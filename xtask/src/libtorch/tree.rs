//! The tree: when it is whole, how it is finished, and the one rename that makes it appear.
//!
//! `include/` the headers, `lib/` the platform's libraries, `build-version` the release (torch-sys reads it).
//! `build-version` is written last, after everything else is on the disk.

use std::fs::{self, File};
use std::path::Path;

use super::error::cannot;
use super::platform::Platform;
use super::{Error, VERSION};

/// A header every user of the C++ API includes: it stands for all of `include/`.
const HEADER: &str = "include/torch/csrc/api/include/torch/torch.h";

/// What a tree lacks; nothing if it is whole.
pub(crate) fn missing(tree: &Path, platform: &Platform) -> Vec<String> {
    let mut missing: Vec<String> = files(platform).filter(|file| !holds_bytes(&tree.join(file))).collect();
    let version = fs::read_to_string(tree.join("build-version")).unwrap_or_default();
    if version.trim() != VERSION {
        missing.push(format!("build-version {VERSION}"));
    }
    missing
}

fn files(platform: &Platform) -> impl Iterator<Item = String> {
    let libraries = platform.libraries().map(|library| format!("lib/{library}"));
    libraries.chain(std::iter::once(HEADER.to_owned()))
}

fn holds_bytes(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() > 0)
}

/// Adds to an unpacked tree what no wheel holds, and checks that it is whole.
pub(crate) fn finish(tree: &Path, platform: &Platform) -> Result<(), Error> {
    if let Some((name, text)) = platform.linker_script {
        write(&tree.join("lib").join(name), text)?;
    }
    let absent: Vec<String> = files(platform).filter(|file| !holds_bytes(&tree.join(file))).collect();
    if !absent.is_empty() {
        return Err(Error::Incomplete { missing: absent.join(", ") });
    }
    sync_folder(&tree.join("lib"))?;
    write(&tree.join("build-version"), &format!("{VERSION}\n"))?;
    sync_folder(tree)
}

/// Puts a finished tree in its place. Whatever stood there goes to `aside`, for the caller to delete.
pub(crate) fn install(tree: &Path, place: &Path, aside: &Path) -> Result<(), Error> {
    if place.symlink_metadata().is_ok() {
        fs::rename(place, aside).map_err(cannot("move away", place))?;
    }
    fs::rename(tree, place).map_err(cannot("rename the finished tree to", place))?;
    place.parent().map_or(Ok(()), sync_folder)
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(cannot("write", path))?;
    sync_file(path)
}

/// Waits until a file's bytes are on the disk.
pub(crate) fn sync_file(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|file| file.sync_all()).map_err(cannot("sync", path))
}

/// Waits until a folder's entries are on the disk.
pub(crate) fn sync_folder(path: &Path) -> Result<(), Error> {
    sync_file(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn platform() -> &'static Platform {
        Platform::find("linux", "x86_64").expect("in the table")
    }

    /// A tree as unpacking leaves it, with little in each file.
    fn unpacked() -> TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for file in files(platform()) {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().expect("inside the tree")).expect("writable");
            fs::write(path, "x").expect("writable");
        }
        folder
    }

    fn finished() -> TempDir {
        let folder = unpacked();
        finish(folder.path(), platform()).expect("everything is there");
        folder
    }

    #[test]
    fn a_finished_tree_is_whole() {
        assert_eq!(missing(finished().path(), platform()), Vec::<String>::new());
    }

    #[test]
    fn a_tree_without_one_of_its_files_is_not_whole() {
        for file in files(platform()) {
            let folder = finished();
            let path = folder.path().join(&file);
            fs::write(&path, "").expect("writable");
            assert_eq!(missing(folder.path(), platform()), [file.as_str()], "emptied");
            fs::remove_file(&path).expect("it is there");
            assert_eq!(missing(folder.path(), platform()), [file.as_str()], "removed");
        }
    }

    #[test]
    fn a_tree_of_another_release_is_not_whole() {
        let folder = finished();
        fs::write(folder.path().join("build-version"), "2.12.0\n").expect("writable");
        assert_eq!(missing(folder.path(), platform()), [format!("build-version {VERSION}")]);
    }

    #[test]
    fn a_tree_that_is_not_finished_is_not_whole() {
        assert!(!missing(unpacked().path(), platform()).is_empty());
        assert!(!missing(Path::new("no/such/folder"), platform()).is_empty());
    }

    #[test]
    fn a_half_unpacked_tree_is_never_finished() {
        for file in platform().wheels.iter().flat_map(|wheel| wheel.libraries) {
            let folder = unpacked();
            fs::remove_file(folder.path().join("lib").join(file)).expect("it is there");
            let error = finish(folder.path(), platform()).expect_err("a library is missing").to_string();
            assert!(error.contains(file), "{error}");
            assert!(!folder.path().join("build-version").exists());
        }
    }

    #[test]
    fn a_finished_tree_takes_the_place_of_a_broken_one() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let (place, aside) = (root.path().join("place"), root.path().join("aside"));
        fs::create_dir(&place).expect("writable");
        fs::write(place.join("build-version"), "2.12.0\n").expect("writable");
        install(&finished().keep(), &place, &aside).expect("one file system");
        assert!(missing(&place, platform()).is_empty());
        assert!(aside.join("build-version").exists());
    }
}
