//! The losses of rows of logits, `log(sum(e^l)) - l[target]`, and their gradients `w (e^l / sum(e^l) - [target])`.

use super::element::Element;
use super::exp::exp;
use super::{Call, Cut, Job, LANES, size, vectorize};
use std::ffi::c_void;
use std::ops::Range;
use std::slice;

/// `losses [rows]` of `logits [rows, vocab]` against `targets [rows]`, all within the vocabulary, and, if it is not null, the
/// `gradient` of `weight` times their sum, in the dtype of the logits; all contiguous; mirrored in `elementwise.cpp`.
#[repr(C)]
#[derive(Debug)]
pub(super) struct LossesCall {
    cut: Cut,
    logits: *const c_void,
    targets: *const i64,
    losses: *mut f32,
    gradient: *mut c_void,
    vocab: i64,
    weight: f32,
}

impl Call for LossesCall {
    fn cut(&self) -> &Cut {
        &self.cut
    }

    unsafe fn run<T: Element>(&self, rows: Range<usize>) {
        let vocab = size(self.vocab);
        for row in rows {
            // SAFETY: as promised by the caller.
            let (logits, target, loss, gradient) = unsafe {
                let gradient = self.gradient.cast::<T>();
                (
                    slice::from_raw_parts(self.logits.cast::<T>().add(row * vocab), vocab),
                    size(*self.targets.add(row)),
                    &mut *self.losses.add(row),
                    (!gradient.is_null())
                        .then(|| slice::from_raw_parts_mut(gradient.add(row * vocab), vocab)),
                )
            };
            vectorize(Losses { logits, target, loss, weight: self.weight, gradient });
        }
    }
}

/// One row.
struct Losses<'a, T> {
    logits: &'a [T],
    target: usize,
    loss: &'a mut f32,
    weight: f32,
    gradient: Option<&'a mut [T]>,
}

/// Terms that are summed in f32; their sums are summed in f64.
const BLOCK: usize = 4096;

impl<T: Element> Job for Losses<'_, T> {
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "f32 is what is wanted")]
    fn run(self) {
        let most = greatest(self.logits);
        // A loop, since an iterator's sum would be compiled for any CPU.
        let mut sum = 0.0_f64;
        for block in self.logits.chunks(BLOCK) {
            sum += f64::from(sum_of_powers(block, most));
        }
        let target = self.logits[self.target].wide();
        *self.loss = (sum.ln() - f64::from(target - most)) as f32;
        let Some(gradient) = self.gradient else { return };
        let share = (f64::from(self.weight) / sum) as f32;
        for (logit, gradient) in self.logits.iter().zip(gradient.iter_mut()) {
            *gradient = T::narrow(exp(logit.wide() - most) * share);
        }
        gradient[self.target] = T::narrow(exp(target - most) * share - self.weight);
    }
}

/// The greatest element, or NaN if there is one.
#[inline(always)]
fn greatest<T: Element>(logits: &[T]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = logits.as_chunks::<LANES>();
    for chunk in chunks {
        for (most, logit) in lanes.iter_mut().zip(chunk) {
            *most = greater(*most, logit.wide());
        }
    }
    rest.iter().map(|logit| logit.wide()).chain(lanes).fold(f32::NEG_INFINITY, greater)
}

/// Of two, the greater one; NaN stays.
#[inline(always)]
fn greater(most: f32, other: f32) -> f32 {
    if most >= other || most.is_nan() { most } else { other }
}

/// `sum(e^(l - most))`
#[inline(always)]
fn sum_of_powers<T: Element>(logits: &[T], most: f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let (chunks, rest) = logits.as_chunks::<LANES>();
    for chunk in chunks {
        for (sum, logit) in lanes.iter_mut().zip(chunk) {
            *sum += exp(logit.wide() - most);
        }
    }
    rest.iter().map(|logit| exp(logit.wide() - most)).sum::<f32>() + lanes.iter().sum::<f32>()
}
