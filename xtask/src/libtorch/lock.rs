//! One `cargo xtask` at a time makes the tree; the others wait, and then find it made.

use std::fs::{File, TryLockError};
use std::path::Path;

use super::Error;
use super::error::cannot;

/// Takes the lock, waiting for it if need be. It is held until the file is dropped, or the process dies.
/// The file itself stays: removing it would let two runs lock two different files of that name.
pub(crate) fn take(path: &Path) -> Result<File, Error> {
    let file = File::create(path).map_err(cannot("create", path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            eprintln!("libtorch: waiting for another cargo xtask...");
            file.lock().map_err(cannot("lock", path))?;
        }
        Err(TryLockError::Error(source)) => return Err(cannot("lock", path)(source)),
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_second_run_waits_until_the_first_is_done() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("lock");
        let first = take(&path).expect("nobody holds it");
        let (sender, receiver) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _second = take(&path).expect("the first lets go");
                sender.send("second").expect("the receiver waits");
            });
            // Held by us, so nothing can have arrived.
            assert!(receiver.try_recv().is_err());
            drop(first);
            assert_eq!(receiver.recv(), Ok("second"));
        });
    }
}
