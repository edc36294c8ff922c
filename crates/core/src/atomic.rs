//! Files that are either the old ones or the new ones, never in between.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Writes each of `files` (a name and its bytes) into `folder`, which is made if need be.
///
/// All bytes are on the disk, beside their places, before the first file takes its place. A crash leaves each file whole:
/// the old one or the new one.
pub(crate) fn write(folder: &Path, files: &[(&str, &[u8])]) -> Result<(), (std::path::PathBuf, io::Error)> {
    fs::create_dir_all(folder).map_err(|error| (folder.to_owned(), error))?;
    let mut staged = Vec::new();
    for (name, bytes) in files {
        let place = folder.join(name);
        let stage = || {
            let mut file = tempfile::Builder::new().prefix(&format!(".{name}.")).tempfile_in(folder)?;
            file.write_all(bytes)?;
            readable(file.as_file())?;
            file.as_file().sync_all()?;
            Ok(file)
        };
        staged.push((stage().map_err(|error| (place.clone(), error))?, place));
    }
    for (file, place) in staged {
        file.persist(&place).map_err(|error| (place.clone(), error.error))?;
    }
    sync_folder(folder).map_err(|error| (folder.to_owned(), error))
}

/// Temporary files are private; an adapter is readable like any other file that is written.
#[cfg(unix)]
fn readable(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn readable(_: &File) -> io::Result<()> {
    Ok(())
}

/// Renames are on the disk once their folder is.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}
