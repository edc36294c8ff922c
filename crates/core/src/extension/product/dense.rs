//! `y [m, o] = round(x [m, n] w^T + bias)`, with `w [o, n]` in the dtype of `x`, for few rows: a product that is as long as
//! reading `w` takes.

use super::element::Element;
use super::simd::{Job, Simd};

/// Vectors of a row of `w` that are summed side by side.
const SIDE_BY_SIDE: usize = 4;

/// How far ahead `w` is fetched: four kilobytes.
const AHEAD: usize = 4096;

/// Some rows of `w` against all of `x`.
pub(super) struct Dense<'a, T> {
    /// `[m, n]`, widened.
    pub(super) x: &'a [f32],
    pub(super) n: usize,
    pub(super) w: &'a [T],
    /// Of these rows of `w`.
    pub(super) bias: Option<&'a [T]>,
    /// For each row of `x`, one element for each of these rows of `w`.
    pub(super) y: &'a mut [&'a mut [T]],
}

impl<T: Element> Job for Dense<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { x, n, w, bias, y } = self;
        for (index, w) in w.chunks_exact(n).enumerate() {
            let bias = bias.map_or(0.0, |bias| bias[index].widened());
            for (x, y) in x.chunks_exact(n).zip(y.iter_mut()) {
                y[index] = T::rounded(dot(simd, x, w) + bias);
            }
        }
    }
}

/// Of rows of the same length.
#[inline(always)]
fn dot<S: Simd, T: Element>(simd: S, x: &[f32], w: &[T]) -> f32 {
    let mut sums = [simd.splat(0.0); SIDE_BY_SIDE];
    let step = SIDE_BY_SIDE * S::LANES;
    let whole = x.len().min(w.len()) / step * step;
    for first in (0..whole).step_by(step) {
        for (index, sum) in sums.iter_mut().enumerate() {
            let at = first + index * S::LANES;
            simd.prefetch(w, at + AHEAD / size_of::<T>());
            // SAFETY: `at + LANES <= first + step <= whole`, which is at most the length of both.
            let (x, w) = unsafe { (simd.load_at(x, at), T::load_at(simd, w, at)) };
            *sum = simd.mul_add(x, w, *sum);
        }
    }
    let [a, b, c, d] = sums;
    let rest: f32 = x[whole..].iter().zip(&w[whole..]).map(|(x, w)| x * w.widened()).sum();
    simd.sum(simd.add(simd.add(a, b), simd.add(c, d))) + rest
}
