//! Gates of `SiLU`, `y = silu(gate) up` with `silu(x) = x s` and `s = 1 / (1 + e^-x)`, and their gradients
//! `g up s (1 + gate (1 - s))` and `g silu(gate)`.

use super::element::Element;
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

/// `e^x`, for `x` from -87 to 88, as at these beyond, by the reduction and the polynomial of Cephes' `expf`: two units in the
/// last place at most.
#[inline(always)]
fn exp(x: f32) -> f32 {
    const TERMS: [f32; 6] = [1.987_569_1e-4, 1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5];
    /// `ln 2` in two parts, the first of which has few bits.
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    /// So great that its last place is one.
    const WHOLE: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + WHOLE;
    let whole = shifted - WHOLE;
    let rest = x - whole * LN_2[0] - whole * LN_2[1];
    let mut power = TERMS[0];
    for term in &TERMS[1..] {
        power = power * rest + term;
    }
    let power = power * (rest * rest) + rest + 1.0;
    power * f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn powers_are_right_to_two_units_in_the_last_place(x in -87.0_f32..88.0) {
            let expected = f64::from(x).exp();
            let error = (f64::from(exp(x)) - expected).abs();
            prop_assert!(error <= 2.0 * f64::from(f32::EPSILON) * expected, "{} at {x}", error / expected);
        }
    }

    #[test]
    fn a_gate_that_is_no_number_shows() {
        assert!((f32::NAN * sigmoid(f32::NAN)).is_nan());
    }
}
