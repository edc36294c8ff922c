//! RMS norms and their gradients.
//!
//! With `r = 1 / sqrt(mean(x^2) + eps)` and `n = r x`, a norm is `n w`, and the gradient of `x`, for `g` times `w` as that of `n`,
//! is `r (g - n mean(g n))`.

use super::element::Element;
use super::{Call, Cut, Job, LANES, size, vectorize};
use std::ffi::c_void;
use std::ops::Range;
use std::slice;

/// `1 + w` in place of `w`; mirrored in `elementwise.cpp`.
const ONE_PLUS: i32 = 1;

/// `y [rows, width]`, the norm of `x`, or the gradient of `x` if there is one of the norm; all of one dtype, contiguous; mirrored
/// in `elementwise.cpp`.
#[repr(C)]
#[derive(Debug)]
pub(super) struct NormCall {
    cut: Cut,
    x: *const c_void,
    weight: *const c_void,
    grad: *const c_void,
    y: *mut c_void,
    width: i64,
    style: i32,
    eps: f32,
}

impl Call for NormCall {
    fn cut(&self) -> &Cut {
        &self.cut
    }

    unsafe fn run<T: Element>(&self, rows: Range<usize>) {
        let width = size(self.width);
        let (at, len) = (rows.start * width, rows.len() * width);
        // SAFETY: as promised by the caller.
        let (x, weight, grad, y) = unsafe {
            let grad = self.grad.cast::<T>();
            (
                slice::from_raw_parts(self.x.cast::<T>().add(at), len),
                slice::from_raw_parts(self.weight.cast::<T>(), width),
                (!grad.is_null()).then(|| slice::from_raw_parts(grad.add(at), len)),
                slice::from_raw_parts_mut(self.y.cast::<T>().add(at), len),
            )
        };
        let (style, eps) = (if self.style == ONE_PLUS { Style::OnePlus } else { Style::Plain }, self.eps);
        let scale = Scale { weight, style };
        match grad {
            None => vectorize(Norms { x, scale, eps, y }),
            Some(grad) => vectorize(Gradients { x, scale, eps, grad, y }),
        }
    }
}

/// When the weight comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    /// After rounding: Llama's.
    Plain,
    /// Before it, and one more than it is: Gemma's.
    OnePlus,
}

/// What norms are multiplied by.
#[derive(Clone, Copy)]
struct Scale<'a, T> {
    weight: &'a [T],
    style: Style,
}

impl<T: Element> Scale<'_, T> {
    #[inline(always)]
    fn of(self, weight: T) -> f32 {
        match self.style {
            Style::Plain => weight.wide(),
            Style::OnePlus => 1.0 + weight.wide(),
        }
    }
}

struct Norms<'a, T> {
    x: &'a [T],
    scale: Scale<'a, T>,
    eps: f32,
    y: &'a mut [T],
}

impl<T: Element> Job for Norms<'_, T> {
    #[inline(always)]
    fn run(self) {
        let width = self.scale.weight.len();
        for (x, y) in self.x.chunks_exact(width).zip(self.y.chunks_exact_mut(width)) {
            let share = share(x, self.eps);
            let weights = self.scale.weight.iter();
            match self.scale.style {
                Style::Plain => {
                    for ((x, weight), y) in x.iter().zip(weights).zip(y) {
                        *y = T::narrow(T::narrow(x.wide() * share).wide() * weight.wide());
                    }
                }
                Style::OnePlus => {
                    for ((x, weight), y) in x.iter().zip(weights).zip(y) {
                        *y = T::narrow(x.wide() * share * (1.0 + weight.wide()));
                    }
                }
            }
        }
    }
}

struct Gradients<'a, T> {
    x: &'a [T],
    scale: Scale<'a, T>,
    eps: f32,
    grad: &'a [T],
    y: &'a mut [T],
}

impl<T: Element> Job for Gradients<'_, T> {
    #[inline(always)]
    #[expect(clippy::cast_precision_loss, reason = "widths are small")]
    fn run(self) {
        let (scale, weights) = (self.scale, self.scale.weight);
        let width = weights.len();
        let rows = self.x.chunks_exact(width).zip(self.grad.chunks_exact(width));
        for ((x, grad), y) in rows.zip(self.y.chunks_exact_mut(width)) {
            let share = share(x, self.eps);
            let product = |at: usize| x[at].wide() * grad[at].wide() * scale.of(weights[at]);
            // Of x instead of n, so that the sum needs no share.
            let mean = share * share * sum(width, product) / width as f32;
            for (((x, grad), weight), y) in x.iter().zip(grad).zip(weights).zip(y) {
                *y = T::narrow(share * (grad.wide() * scale.of(*weight) - x.wide() * mean));
            }
        }
    }
}

/// `r` of a row.
#[inline(always)]
#[expect(clippy::cast_precision_loss, reason = "widths are small")]
fn share<T: Element>(x: &[T], eps: f32) -> f32 {
    let sum = sum(x.len(), |at| x[at].wide() * x[at].wide());
    1.0 / (sum / x.len() as f32 + eps).sqrt()
}

/// The sum of `count` terms.
#[inline(always)]
fn sum(count: usize, term: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let whole = count / LANES * LANES;
    for first in (0..whole).step_by(LANES) {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += term(first + lane);
        }
    }
    for (at, sum) in (whole..count).zip(&mut lanes) {
        *sum += term(at);
    }
    // Halves onto halves.
    let mut left = LANES;
    while left > 1 {
        left /= 2;
        for lane in 0..left {
            lanes[lane] += lanes[lane + left];
        }
    }
    lanes[0]
}
