//! What the machine can do: reading memory, and libtorch's dense product as the measure of arithmetic.

use crate::shape::{Shape, float};
use crate::timing::medians;
use std::fmt;
use std::time::Instant;
use tch::{Device, Kind, Tensor};

/// Bytes that are read in all.
const BUFFER: u32 = 512 << 20;
/// Sizes of the dense product.
const SIDE: i64 = 4096;
const ROWS: i64 = 1024;

/// What a product cannot be faster than.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Threads, of libtorch and of the reading.
    threads: i32,
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
        Self {
            threads,
            bandwidth: read_bandwidth(threads),
            bf16: dense(Kind::BFloat16),
            f32: dense(Kind::Float),
        }
    }

    /// These, with reading measured before and after something, since a shared machine's memory is not the same for long.
    pub(crate) fn around<R>(&self, run: impl FnOnce() -> R) -> (Self, R) {
        let before = read_bandwidth(self.threads);
        let result = run();
        let bandwidth = f64::midpoint(before, read_bandwidth(self.threads));
        (Self { bandwidth, ..self.clone() }, result)
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

/// The best of some passes over a buffer, each thread over a part of its own.
fn read_bandwidth(threads: i32) -> f64 {
    let threads = usize::try_from(threads).unwrap_or(1).max(1);
    let buffer: Vec<u64> = (0..u64::from(BUFFER) / 8).collect();
    let mut best = f64::INFINITY;
    for _ in 0..4 {
        let start = Instant::now();
        let sum: u64 = std::thread::scope(|scope| {
            let parts = buffer.chunks(buffer.len().div_ceil(threads));
            let readers: Vec<_> = parts.map(|part| scope.spawn(|| sum(part))).collect();
            readers.into_iter().map(|reader| reader.join().unwrap_or(0)).fold(0, u64::wrapping_add)
        });
        std::hint::black_box(sum);
        best = best.min(start.elapsed().as_secs_f64());
    }
    f64::from(BUFFER) / best
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
