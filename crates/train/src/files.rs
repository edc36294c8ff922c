//! Files and folders that are either whole or not there.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// What the names of files start with that are being written.
pub(crate) const STAGE_PREFIX: &str = ".writing-";

/// Puts `bytes` at `path`: written beside it, synced, renamed.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(STAGE_PREFIX).tempfile_in(folder)?;
    file.write_all(bytes)?;
    make_readable(file.path())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    sync_folder(folder)
}

/// Writes `bytes` to a new file and syncs it; the folder around it is not in its place yet.
pub(crate) fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Temporary files and folders are private; results are readable like anything else that is written.
#[cfg(unix)]
pub(crate) fn make_readable(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = if path.is_dir() { 0o755 } else { 0o644 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
pub(crate) fn make_readable(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Renames are on the disk once their folder is.
#[cfg(unix)]
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
pub(crate) fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

/// The text of a file, or nothing if there is no such file.
pub(crate) fn read_if_there(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
