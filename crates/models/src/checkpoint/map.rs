//! A file in memory, read page by page as it is touched: the crate's one room for unsafe code.
#![allow(unsafe_code, reason = "this is the crate's one room for it")]

use memmap2::Mmap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;

/// A file mapped read-only.
#[derive(Debug)]
pub(super) struct MappedFile(Mmap);

impl MappedFile {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        // SAFETY: the map is private to this type, is only read, and is turned into tensors by copying. As with every
        // mapped file, another process that truncates it meanwhile ends this one by a signal; no memory is corrupted.
        let map = unsafe { Mmap::map(&file)? };
        Ok(Self(map))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Says that the bytes of `range` have been copied and their pages may go; a later read brings them back.
    pub(super) fn release(&self, range: Range<usize>) {
        #[cfg(unix)]
        {
            let advice = memmap2::UncheckedAdvice::DontNeed;
            // SAFETY: the map is of a file and read-only, so dropped pages are read again from the file with the same
            // contents; nothing written can be lost.
            let outcome = unsafe { self.0.unchecked_advise_range(advice, range.start, range.len()) };
            // A hint that the system does not take costs memory and nothing else.
            drop(outcome);
        }
        #[cfg(not(unix))]
        drop(range);
    }
}
