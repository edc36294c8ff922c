//! Medians of contenders that take turns.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// How long the contenders of one row are measured in all.
const BUDGET: Duration = Duration::from_millis(2500);
/// Turns at least, and at most.
const TURNS: std::ops::RangeInclusive<usize> = 5..=100;
/// How long a turn lasts at least: the layers of a model follow each other, too.
const TURN: Duration = Duration::from_millis(2);

/// What is timed: it returns what must not be optimised away.
pub(crate) type Contender<'a> = Box<dyn Fn() -> tch::Tensor + 'a>;

/// The median time of each contender in milliseconds: of its turns, each of which is a mean over calls in a row.
///
/// A turn's first call is not counted: it finds the caches and the pages as another contender left them.
pub(crate) fn medians(contenders: &[Contender<'_>]) -> Vec<f64> {
    take_turns(contenders, || ())
}

/// The same, with something else done after each round.
pub(crate) fn take_turns(contenders: &[Contender<'_>], mut after: impl FnMut()) -> Vec<f64> {
    let mut times = vec![Vec::new(); contenders.len()];
    let start = Instant::now();
    let mut turns = 0;
    while turns < *TURNS.start() || (start.elapsed() < BUDGET && turns < *TURNS.end()) {
        for (run, times) in contenders.iter().zip(&mut times) {
            times.push(turn(run) * 1e3);
        }
        after();
        turns += 1;
    }
    times.into_iter().map(median).collect()
}

/// Seconds a call.
fn turn(run: &Contender<'_>) -> f64 {
    drop(black_box(run()));
    let start = Instant::now();
    let mut calls = 0;
    while calls == 0 || start.elapsed() < TURN {
        drop(black_box(run()));
        calls += 1;
    }
    start.elapsed().as_secs_f64() / f64::from(calls)
}

/// The value in the middle.
pub(crate) fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
