//! The making of the tree, from nothing or from whatever an interrupted run left.

use std::fs;
use std::path::Path;
use std::time::Instant;

use super::download::{download, remove};
use super::error::{Error, cannot};
use super::platform::Platform;
use super::progress::megabytes;
use super::python::Python;
use super::unpack::unpack;
use super::{VERSION, lock, tree};

/// Makes `<root>/.libtorch`, or waits for another run that does.
pub(crate) fn make(root: &Path, platform: &Platform) -> Result<(), Error> {
    let python = Python::find()?;
    let place = root.join(".libtorch");
    let _lock = lock::take(&root.join(".libtorch.lock"))?;
    let missing = tree::missing(&place, platform);
    if missing.is_empty() {
        return Ok(());
    }
    if place.exists() {
        eprintln!("libtorch: {} lacks {} and is made anew", place.display(), missing.join(", "));
    }
    eprintln!("libtorch: making {}, once (libtorch {VERSION} for the CPU)", place.display());
    let start = Instant::now();

    let staging = root.join(".libtorch.partial");
    let wheels = staging.join("wheels");
    let run = staging.join(format!("run-{}", std::process::id()));
    clear_leftovers(&staging)?;
    remove(&run)?;
    check_disk_space(&python, root, &wheels, platform)?;
    let each = platform.wheels.iter();
    let files = each.map(|wheel| download(&python, wheel, &wheels, &run)).collect::<Result<Vec<_>, _>>()?;
    eprintln!("libtorch: unpacking");
    let staged = run.join("tree");
    for (wheel, file) in platform.wheels.iter().zip(&files) {
        unpack(&python, wheel, file, &staged)?;
    }
    tree::finish(&staged, platform)?;
    tree::install(&staged, &place, &run.join("replaced"))?;
    if let Err(error) = remove(&staging) {
        eprintln!("libtorch: made, but {error}; it is no longer needed");
    }
    eprintln!("libtorch: made in {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// Keeps an interrupted run's whole wheels, and nothing else of it. What its Python still writes to may stay:
/// it is in a folder of its own, which goes with all the rest in the end.
fn clear_leftovers(staging: &Path) -> Result<(), Error> {
    fs::create_dir_all(staging).map_err(cannot("create", staging))?;
    for entry in fs::read_dir(staging).map_err(cannot("read", staging))?.filter_map(Result::ok) {
        if entry.file_name() != "wheels" {
            let _ = remove(&entry.path());
        }
    }
    Ok(())
}

fn check_disk_space(python: &Python, root: &Path, wheels: &Path, platform: &Platform) -> Result<(), Error> {
    let needed = platform.peak_megabytes.saturating_sub(megabytes(size_of(wheels)));
    let free = megabytes(python.free_bytes(root)?);
    if free < needed {
        return Err(Error::DiskSpace { folder: root.to_owned(), needed, free });
    }
    Ok(())
}

/// Bytes in all files of a folder and its folders.
fn size_of(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let sizes = entries.filter_map(Result::ok).map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size_of(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_interrupted_run_only_whole_wheels_are_kept() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for file in ["wheels/toy/toy.whl", "run-7/incoming/tmp/toy.whl", "run-7/tree/lib/libc10.so", "stray"]
        {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().expect("inside the folder")).expect("writable");
            fs::write(path, "1234").expect("writable");
        }
        assert_eq!(size_of(folder.path()), 16);
        clear_leftovers(folder.path()).expect("writable");
        assert_eq!(size_of(folder.path()), 4);
        assert!(folder.path().join("wheels/toy/toy.whl").exists());
    }
}
