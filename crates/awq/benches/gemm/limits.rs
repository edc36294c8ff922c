//! What the machine can do: reading memory, and libtorch's dense product as the measure of arithmetic.

use crate::cycle::BEYOND_CACHES;
use crate::shape::{Shape, float};
use crate::timing::{Contender, median, medians, take_turns};
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tch::{Device, Kind, Tensor};

/// Sizes of the dense product.
const SIDE: i64 = 4096;
const ROWS: i64 = 1024;

/// After so long, libtorch's threads no longer wait for work on cores of their own.
const REST: Duration = Duration::from_millis(10);

/// What a product cannot be faster than.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Threads, of libtorch and of the reading.
    threads: i32,
    /// What is read.
    buffer: Rc<[u64]>,
    /// Bytes a second.
    pub(crate) bandwidth: f64,
    /// Operations a second of a dense product in bf16.
    pub(crate) bf16: f64,
    /// Operations a second of a dense product in f32.
    pub(crate) f32: f64,
}

impl Limits {
    /// Measures them.
    pub(crate) fn measure() -> Self {
        let threads = tch::get_num_threads();
        let dense = |kind| {
            let tensor = |rows| Tensor::randn([rows, SIDE], (Kind::Float, Device::Cpu)).to_kind(kind);
            let (x, weight) = (tensor(ROWS), tensor(SIDE));
            let milliseconds = medians(&[Box::new(|| x.linear(&weight, None::<&Tensor>))])[0];
            2.0 * float(ROWS * SIDE * SIDE) / milliseconds * 1e3
        };
        let (bf16, f32) = (dense(Kind::BFloat16), dense(Kind::Float));
        let buffer = (0..u64::from(BEYOND_CACHES) / 8).collect();
        let limits = Self { threads, buffer, bandwidth: f64::NAN, bf16, f32 };
        limits.beside(&[]).0
    }

    /// Medians of contenders in milliseconds, and these limits with reading measured in turn with them: a shared machine's
    /// memory is not the same for long.
    pub(crate) fn beside(&self, contenders: &[Contender<'_>]) -> (Self, Vec<f64>) {
        let mut read = Vec::new();
        let times = take_turns(contenders, || read.push(self.read()));
        (Self { bandwidth: f64::from(BEYOND_CACHES) / median(read), ..self.clone() }, times)
    }

    /// The seconds of reading the buffer, each thread a part of its own.
    fn read(&self) -> f64 {
        std::thread::sleep(REST);
        let threads = usize::try_from(self.threads).unwrap_or(1).max(1);
        let start = Instant::now();
        let sum: u64 = std::thread::scope(|scope| {
            let parts = self.buffer.chunks(self.buffer.len().div_ceil(threads));
            let readers: Vec<_> = parts.map(|part| scope.spawn(|| sum(part))).collect();
            readers.into_iter().map(|reader| reader.join().unwrap_or(0)).fold(0, u64::wrapping_add)
        });
        std::hint::black_box(sum);
        start.elapsed().as_secs_f64()
    }

    /// The least milliseconds that a product of so many rows can take: all weights are read, all operations done.
    pub(crate) fn least(&self, shape: Shape, rows: i64) -> f64 {
        self.reading(shape).max(shape.operations(rows) / self.bf16 * 1e3)
    }

    /// The same where operations are of f32.
    pub(crate) fn least_f32(&self, shape: Shape, rows: i64) -> f64 {
        self.reading(shape).max(shape.operations(rows) / self.f32 * 1e3)
    }

    /// The milliseconds of reading all weights.
    pub(crate) fn reading(&self, shape: Shape) -> f64 {
        shape.packed_bytes() / self.bandwidth * 1e3
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} threads. Reading memory: {:.1} GB/s. libtorch's dense product: {:.0} GFLOP/s in bf16, {:.0} in f32.",
            self.threads,
            self.bandwidth / 1e9,
            self.bf16 / 1e9,
            self.f32 / 1e9
        )
    }
}

/// The sum of all words, in lanes, so that reading is what takes the time.
fn sum(words: &[u64]) -> u64 {
    let mut lanes = [0u64; 16];
    for words in words.chunks_exact(16) {
        for (lane, word) in lanes.iter_mut().zip(words) {
            *lane = lane.wrapping_add(*word);
        }
    }
    lanes.into_iter().fold(0, u64::wrapping_add)
}
