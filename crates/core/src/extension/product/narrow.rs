//! Few rows and a matrix of short rows, `b [n, r]`: `low [m, r] = scale * x [m, n] b`, and the gradient of `b` from that of the product
//! `low b^T`. Both are as long as reading or writing `b` takes, so nothing of it is turned.

use super::element::Element;
use super::simd::{Job, Simd};

/// Vectors whose sums are made at a time.
const VECTORS: usize = 4;

/// `scale * x b`.
pub(super) struct Narrow<'a, T> {
    /// Its rows, each of as many elements as `b` has rows here.
    pub(super) x: &'a [&'a [T]],
    /// `[n, r]`.
    pub(super) b: &'a [f32],
    pub(super) r: usize,
    pub(super) scale: f32,
    /// `[m, r]`; what was there is forgotten.
    pub(super) low: &'a mut [f32],
}

impl<T: Element> Job for Narrow<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { x, b, r, scale, low } = self;
        let (scale, zero) = (simd.splat(scale), simd.splat(0.0));
        for (x, low) in x.iter().zip(low.chunks_exact_mut(r)) {
            for (index, low) in low.chunks_mut(VECTORS * S::LANES).enumerate() {
                let at = index * VECTORS * S::LANES;
                let mut sums = [simd.splat(0.0); VECTORS];
                for (row, x) in x.iter().enumerate() {
                    let x = simd.splat(x.widened());
                    let row = &b[row * r + at..];
                    for (vector, sum) in sums.iter_mut().enumerate().take(low.len().div_ceil(S::LANES)) {
                        *sum = simd.mul_add(x, load_or_pad(simd, row, vector * S::LANES), *sum);
                    }
                }
                for (low, sum) in low.chunks_mut(S::LANES).zip(sums) {
                    store_or_cut(simd, simd.mul_add(scale, sum, zero), low);
                }
            }
        }
    }
}

/// `scale * x^T low`, some rows of it.
pub(super) struct Outer<'a, T> {
    /// The rows of `x`, each of as many elements as there are rows here.
    pub(super) x: &'a [&'a [T]],
    /// `[m, r]`.
    pub(super) low: &'a [f32],
    pub(super) r: usize,
    pub(super) scale: f32,
    /// `[n, r]`; what was there is forgotten.
    pub(super) grad: &'a mut [f32],
}

impl<T: Element> Job for Outer<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { x, low, r, scale, grad } = self;
        let (scale, zero) = (simd.splat(scale), simd.splat(0.0));
        // Padded here and not where a vector is loaded, for each row would wait for what it had just written.
        let low: Vec<f32> = low.iter().copied().chain([0.0; 16]).collect();
        for row in 0..grad.len() / r {
            for vector in (0..r).step_by(S::LANES) {
                let mut sum = zero;
                for (index, x) in x.iter().enumerate() {
                    let low = simd.load(&low[index * r + vector..]);
                    sum = simd.mul_add(simd.splat(x[row].widened()), low, sum);
                }
                // Lanes behind a short row are written over by the next rows; the last one is cut.
                let from = &mut grad[row * r + vector..];
                let to = if from.len() < S::LANES { from.len() } else { S::LANES };
                store_or_cut(simd, simd.mul_add(scale, sum, zero), &mut from[..to]);
            }
        }
    }
}

/// A vector from element `at` on: what lies behind a short row is of no use, but harms nobody; behind the last one are zeros.
#[inline(always)]
fn load_or_pad<S: Simd>(simd: S, from: &[f32], at: usize) -> S::F {
    let from = &from[at..];
    if from.len() >= S::LANES {
        return simd.load(from);
    }
    let mut padded = [0.0; 16];
    padded[..from.len()].copy_from_slice(from);
    simd.load(&padded)
}

/// As many lanes as `to` has elements.
#[inline(always)]
fn store_or_cut<S: Simd>(simd: S, x: S::F, to: &mut [f32]) {
    if to.len() >= S::LANES {
        return simd.store(x, to);
    }
    let mut all = [0.0; 16];
    simd.store(x, &mut all);
    to.copy_from_slice(&all[..to.len()]);
}
