//! Gates of `SiLU`, `y = silu(gate) up` with `silu(x) = x s` and `s = 1 / (1 + e^-x)`, and their gradients
//! `g up s (1 + gate (1 - s))` and `g silu(gate)`.

use super::element::Element;
use super::exp::exp;
use super::{Job, vectorize};
use std::ffi::c_void;
use std::ops::Range;
use std::slice;

/// `y`, or the gradients of `gate` (as `y`) and `up` if there is one of `y`; all of one dtype and `elements`, with `chunk` in a
/// task; mirrored in `elementwise.cpp`, which owns the memory until the call returns.
#[repr(C)]
#[derive(Debug)]
pub(super) struct GateCall {
    gate: *const c_void,
    up: *const c_void,
    grad: *const c_void,
    y: *mut c_void,
    grad_up: *mut c_void,
    pub(super) dtype: i32,
    pub(super) elements: i64,
    pub(super) chunk: i64,
}

impl GateCall {
    /// # Safety
    /// The memory is there, of this dtype, and nothing else refers to these elements of `y` and `grad_up`, or writes the others.
    pub(super) unsafe fn run<T: Element>(&self, elements: Range<usize>) {
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
