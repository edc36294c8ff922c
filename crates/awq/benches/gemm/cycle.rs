//! Copies that are gone through one by one, so that the next one is never in a cache.

use std::cell::Cell;

/// Bytes that are more than any cache of the machines in question holds: those of a rented machine have more than it says.
pub(crate) const BEYOND_CACHES: u32 = 512 << 20;
/// Copies of a small layer: enough to be beyond the nearest caches.
const MOST: usize = 256;

/// Copies of one thing.
pub(crate) struct Cycle<T> {
    copies: Vec<T>,
    next: Cell<usize>,
}

impl<T> Cycle<T> {
    /// As many copies of `bytes` bytes as are needed, and at least two.
    pub(crate) fn new<E>(bytes: f64, copy: impl Fn() -> Result<T, E>) -> Result<Self, E> {
        let mut copies = vec![copy()?, copy()?];
        let mut total = 2.0 * bytes;
        while total < f64::from(BEYOND_CACHES) && copies.len() < MOST {
            copies.push(copy()?);
            total += bytes;
        }
        Ok(Self { copies, next: Cell::new(0) })
    }

    /// The one that was used longest ago.
    pub(crate) fn next(&self) -> &T {
        let index = self.next.get();
        self.next.set((index + 1) % self.copies.len());
        &self.copies[index]
    }
}
