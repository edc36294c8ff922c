//! Medians of contenders that take turns.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// How long the contenders of one row are measured in all.
const BUDGET: Duration = Duration::from_millis(2500);
/// Turns at least, and at most.
const TURNS: std::ops::RangeInclusive<usize> = 5..=300;

/// What is timed: it returns what must not be optimised away.
pub(crate) type Contender<'a> = Box<dyn Fn() -> tch::Tensor + 'a>;

/// The median time of each contender in milliseconds.
pub(crate) fn medians(contenders: &[Contender<'_>]) -> Vec<f64> {
    let mut times = vec![Vec::new(); contenders.len()];
    let start = Instant::now();
    let mut turns = 0;
    while turns < *TURNS.start() || (start.elapsed() < BUDGET && turns < *TURNS.end()) {
        for (run, times) in contenders.iter().zip(&mut times) {
            let start = Instant::now();
            let result = black_box(run());
            times.push(start.elapsed().as_secs_f64() * 1e3);
            drop(result);
        }
        turns += 1;
    }
    times.into_iter().map(median).collect()
}

/// The value in the middle.
fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
