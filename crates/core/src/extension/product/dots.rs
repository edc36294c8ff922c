//! `low [m, r] = scale * x [m, n] a^T`, with `a [r, n]`: every row of `x` against every row of `a`.

use super::element::Element;
use super::simd::{Job, Simd};
use std::cell::Cell;
use std::ops::Range;

/// Columns that are summed at a time. A chunk of the rows of a tile fits a first-level cache, one of `a` the second.
pub(super) const CHUNK: usize = 1024;

/// The most rows of a tile.
const MOST_ROWS: usize = 6;

thread_local! {
    /// Rows of `x`, widened.
    static WIDE: Cell<Vec<[f32; CHUNK]>> = const { Cell::new(Vec::new()) };
}

/// Rows of `x` against all of `a`, in some chunks of columns, whose sums are added in order.
pub(super) struct Dots<'a, T> {
    /// `[m, n]`.
    pub(super) x: &'a [T],
    /// `[r, n]`.
    pub(super) a: &'a [f32],
    pub(super) n: usize,
    pub(super) r: usize,
    /// Columns.
    pub(super) columns: Range<usize>,
    pub(super) scale: f32,
    /// `[m, r]`; what was there is forgotten.
    pub(super) low: &'a mut [f32],
}

impl<T: Element> Job for Dots<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { x, a, n, r, columns, scale, low } = self;
        low.fill(0.0);
        let mut wide = WIDE.take();
        wide.resize(MOST_ROWS, [0.0; CHUNK]);
        let mut first = columns.start;
        while first < columns.end {
            let count = CHUNK.min(columns.end - first);
            let padded = count.next_multiple_of(S::LANES);
            let tiles = x.chunks(S::DOT_ROWS * n).zip(low.chunks_mut(S::DOT_ROWS * r));
            for (x, low) in tiles {
                let rows = low.len() / r;
                for (x, wide) in x.chunks_exact(n).zip(&mut wide) {
                    for (x, wide) in x[first..first + count].iter().zip(wide.iter_mut()) {
                        *wide = x.widened();
                    }
                    wide[count..padded].fill(0.0);
                }
                let tile = Tile { wide: &wide, a: &a[first..], n, count, low, r };
                match rows {
                    1 => tile.all::<S, 1>(simd),
                    2 => tile.all::<S, 2>(simd),
                    3 => tile.all::<S, 3>(simd),
                    4 => tile.all::<S, 4>(simd),
                    5 => tile.all::<S, 5>(simd),
                    _ => tile.all::<S, MOST_ROWS>(simd),
                }
            }
            first += count;
        }
        for low in low {
            *low *= scale;
        }
        WIDE.set(wide);
    }
}

/// Some rows, widened, in one chunk.
struct Tile<'a> {
    wide: &'a [[f32; CHUNK]],
    /// From the chunk's first column on; rows are `n` apart.
    a: &'a [f32],
    n: usize,
    count: usize,
    low: &'a mut [f32],
    r: usize,
}

impl Tile<'_> {
    #[inline(always)]
    fn all<S: Simd, const ROWS: usize>(mut self, simd: S) {
        let mut first = 0;
        while first < self.r {
            first += match self.r - first {
                1 => self.some::<S, ROWS, 1>(simd, first),
                2 | 3 => self.some::<S, ROWS, 2>(simd, first),
                _ => self.some::<S, ROWS, 4>(simd, first),
            };
        }
    }

    /// Against rows `first ..+ COUNT` of `a`; returns how many these are.
    #[inline(always)]
    fn some<S: Simd, const ROWS: usize, const COUNT: usize>(&mut self, simd: S, first: usize) -> usize {
        let a: [&[f32]; COUNT] = std::array::from_fn(|k| &self.a[(first + k) * self.n..][..self.count]);
        let mut sums = [[simd.splat(0.0); COUNT]; ROWS];
        let whole = self.count / S::LANES * S::LANES;
        for at in (0..whole).step_by(S::LANES) {
            // SAFETY: `at + LANES <= whole <= count`, which is the length of each row of `a` and at most that of a chunk.
            let load = |from: &[f32]| unsafe { simd.load_at(from, at) };
            let x: [S::F; ROWS] = std::array::from_fn(|row| load(&self.wide[row]));
            for k in 0..COUNT {
                // One row is as long as reading takes, and the next rows lie far behind these.
                if ROWS == 1 {
                    simd.prefetch(a[k], at + COUNT * self.n);
                }
                let a = load(a[k]);
                for (sums, x) in sums.iter_mut().zip(x) {
                    sums[k] = simd.mul_add(x, a, sums[k]);
                }
            }
        }
        if whole < self.count {
            for k in 0..COUNT {
                let mut rest = [0.0; 16];
                rest[..self.count - whole].copy_from_slice(&a[k][whole..]);
                let a = simd.load(&rest);
                for (sums, x) in sums.iter_mut().zip(self.wide) {
                    sums[k] = simd.mul_add(simd.load(&x[whole..]), a, sums[k]);
                }
            }
        }
        for (sums, low) in sums.iter().zip(self.low.chunks_exact_mut(self.r)) {
            let mut four = [simd.splat(0.0); 4];
            four[..COUNT].copy_from_slice(sums);
            for (sum, low) in simd.four_sums(four).iter().zip(&mut low[first..first + COUNT]) {
                *low += sum;
            }
        }
        COUNT
    }
}
