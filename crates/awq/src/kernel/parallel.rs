//! How a kernel spreads its tasks: the one thing it asks of a thread pool.
//!
//! The kernels cut their work by shape alone and every task owns its outputs, so neither the order of the tasks
//! nor the number of threads can change a bit of the result.

use std::num::NonZero;
use std::sync::OnceLock;

/// Runs independent tasks, in any order, on any threads.
pub(crate) trait ParallelFor: Sync {
    /// Calls `body(0)`, ..., `body(tasks - 1)`, each exactly once, and returns when all have returned.
    fn run(&self, tasks: usize, body: &(dyn Fn(usize) + Sync));

    /// About how many tasks run at once: a hint that shows in no result.
    fn threads(&self) -> usize {
        static THREADS: OnceLock<usize> = OnceLock::new();
        *THREADS.get_or_init(|| std::thread::available_parallelism().map_or(1, NonZero::get))
    }
}

/// Runs every task on the calling thread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Serial;

impl ParallelFor for Serial {
    fn run(&self, tasks: usize, body: &(dyn Fn(usize) + Sync)) {
        (0..tasks).for_each(body);
    }
}

/// Runs tasks on a fixed number of fresh threads; for tests, where a pool is not at hand.
#[cfg(test)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Threads(pub(crate) usize);

#[cfg(test)]
impl ParallelFor for Threads {
    fn run(&self, tasks: usize, body: &(dyn Fn(usize) + Sync)) {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..self.0 {
                scope.spawn(|| {
                    loop {
                        let task = next.fetch_add(1, Ordering::Relaxed);
                        if task >= tasks {
                            break;
                        }
                        body(task);
                    }
                });
            }
        });
    }
}
