//! Gates of `SiLU`, `y = silu(gate) up` with `silu(x) = x s` and `s = 1 / (1 + e^-x)`, and their gradients
//! `g up s (1 + gate (1 - s))` and `g silu(gate)`.

use super::element::Element;
use super::exp::exp;
use super::{Call, Cut, Job, vectorize};
use std::ffi::c_void;
use std::ops::Range;
use std::slice;

/// `y`, or the gradients of `gate` (as `y`) and `up` if there is one of `y`; all of one dtype, with rows of one element; mirrored
/// in `elementwise.cpp`.
#[repr(C)]
#[derive(Debug)]
pub(super) struct GateCall {
    cut: Cut,
    gate: *const c_void,
    up: *const c_void,
    grad: *const c_void,
    y: *mut c_void,
    grad_up: *mut c_void,
}

impl Call for GateCall {
    fn cut(&self) -> &Cut {
        &self.cut
    }

    unsafe fn run<T: Element>(&self, elements: Range<usize>) {
        let (at, len) = (elements.start, elements.len());
        // SAFETY: as promised by the caller.
        let (gate, up, y) = unsafe {
            (
                slice::from_raw_parts(self.gate.cast::<T>().add(at), len),
                slice::from_raw_parts(self.up.cast::<T>().add(at), len),
                slice::from_raw_parts_mut(self.y.cast::<T>().add(at), len),
            )
        };
        if self.grad.is_null() {
            return vectorize(Gates { gate, up, y });
        }
        // SAFETY: as promised by the caller.
        let (grad, grad_up) = unsafe {
            (
                slice::from_raw_parts(self.grad.cast::<T>().add(at), len),
                slice::from_raw_parts_mut(self.grad_up.cast::<T>().add(at), len),
            )
        };
        vectorize(Gradients { gate, up, grad, grad_gate: y, grad_up });
    }
}

struct Gates<'a, T> {
    gate: &'a [T],
    up: &'a [T],
    y: &'a mut [T],
}

impl<T: Element> Job for Gates<'_, T> {
    #[inline(always)]
    fn run(self) {
        for ((gate, up), y) in self.gate.iter().zip(self.up).zip(self.y) {
            let gate = gate.wide();
            // Rounded between, as an activation by itself is.
            *y = T::narrow(T::narrow(gate * sigmoid(gate)).wide() * up.wide());
        }
    }
}

struct Gradients<'a, T> {
    gate: &'a [T],
    up: &'a [T],
    grad: &'a [T],
    grad_gate: &'a mut [T],
    grad_up: &'a mut [T],
}

impl<T: Element> Job for Gradients<'_, T> {
    #[inline(always)]
    fn run(self) {
        let of_gate_and_up = self.grad_gate.iter_mut().zip(self.grad_up);
        for (((gate, up), grad), (of_gate, of_up)) in
            self.gate.iter().zip(self.up).zip(self.grad).zip(of_gate_and_up)
        {
            let (gate, up, grad) = (gate.wide(), up.wide(), grad.wide());
            let share = sigmoid(gate);
            *of_gate = T::narrow(grad * up * share * (1.0 + gate * (1.0 - share)));
            *of_up = T::narrow(grad * (gate * share));
        }
    }
}

/// `1 / (1 + e^-x)`
#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_that_is_no_number_shows() {
        assert!((f32::NAN * sigmoid(f32::NAN)).is_nan());
    }
}
