//! Takes the headers and libraries out of a wheel, with the zip module of the Python that fetched it.

use std::fs;
use std::path::Path;

use super::Error;
use super::error::cannot;
use super::platform::Wheel;
use super::python::{Python, words_of};

const SCRIPT: &str = include_str!("unpack.py");
/// The script's exit code for a wheel that is no whole zip file, or whose checksums do not fit.
const DAMAGED: i32 = 3;

/// Unpacks the wanted members of the wheel `file` into `tree`; a damaged wheel is removed.
pub(crate) fn unpack(python: &Python, wheel: &Wheel, file: &Path, tree: &Path) -> Result<(), Error> {
    let mut command = python.script(SCRIPT);
    command.arg(file).arg(tree).arg(wheel.headers.unwrap_or_default()).args(wheel.libraries);
    let output = command.output().map_err(cannot("start", python.name()))?;
    match output.status.code() {
        Some(0) => Ok(()),
        Some(DAMAGED) => {
            fs::remove_file(file).map_err(cannot("remove", file))?;
            Err(Error::DamagedWheel { wheel: wheel.to_string(), reason: words_of(&output) })
        }
        _ => Err(python.failed("unpacking a wheel", &output)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHEEL: Wheel = Wheel {
        name: "toy",
        version: "1.0",
        tag: "any",
        headers: Some("torch/include/"),
        libraries: &["liba.so", "libb.so.1"],
    };

    /// A small wheel with what we want, and beside it what we do not.
    const MAKE: &str = "\
import sys, zipfile
with zipfile.ZipFile(sys.argv[1], 'w', zipfile.ZIP_DEFLATED) as z:
    for name in ['torch/include/a/b.h', 'torch/lib/liba.so', 'nvidia/cu13/lib/libb.so.1',
                 'torch/lib/libother.so', 'torch/bin/liba.so', 'torch/include/../../evil.h', 'torch/other.h']:
        z.writestr(name, name * 1000)
";

    fn wheel_in(folder: &Path, python: &Python) -> std::path::PathBuf {
        let file = folder.join("toy.whl");
        assert!(python.script(MAKE).arg(&file).status().expect("python runs").success());
        file
    }

    fn files_in(folder: &Path) -> Vec<String> {
        let mut files = Vec::new();
        for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("readable")) {
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type().expect("known").is_dir() {
                files.extend(files_in(&entry.path()).into_iter().map(|file| format!("{name}/{file}")));
            } else {
                files.push(name);
            }
        }
        files.sort();
        files
    }

    #[test]
    fn only_the_wanted_members_are_unpacked() {
        let (folder, python) =
            (tempfile::tempdir().expect("a folder"), Python::find().expect("python with pip"));
        let file = wheel_in(folder.path(), &python);
        let tree = folder.path().join("tree");
        unpack(&python, &WHEEL, &file, &tree).expect("a whole wheel");
        assert_eq!(files_in(&tree), ["include/a/b.h", "lib/liba.so", "lib/libb.so.1"]);
        let header = fs::read_to_string(tree.join("include/a/b.h")).expect("unpacked");
        assert_eq!(header, "torch/include/a/b.h".repeat(1000));
    }

    #[test]
    fn a_wheel_with_one_wrong_byte_is_removed() {
        let (folder, python) =
            (tempfile::tempdir().expect("a folder"), Python::find().expect("python with pip"));
        let file = wheel_in(folder.path(), &python);
        let mut bytes = fs::read(&file).expect("just written");
        // Inside the compressed bytes of the first member, behind its header of 30 bytes and its name.
        bytes[30 + "torch/include/a/b.h".len() + 5] ^= 0x55;
        fs::write(&file, bytes).expect("writable");
        let error =
            unpack(&python, &WHEEL, &file, &folder.path().join("tree")).expect_err("damaged").to_string();
        assert!(error.contains("toy 1.0 is damaged"), "{error}");
        assert!(!file.exists());
    }
}
