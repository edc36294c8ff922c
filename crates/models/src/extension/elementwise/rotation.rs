//! Rotations of a head's dimensions in pairs, those of its first half with those of the second.

use super::element::Element;
use super::{Call, Cut, Job, size, vectorize};
use std::ffi::c_void;
use std::marker::PhantomData;
use std::ops::Range;
use std::slice;

/// The gradient's direction; mirrored in `elementwise.cpp`.
const BACKWARD: i32 = 1;

/// `y [batch, times, heads, width]`, contiguous, from `x [batch, heads, times, width]` with rows of these strides, and `cos` and
/// `sin [batch or 1, times, width]`; all of one dtype; mirrored in `elementwise.cpp`.
#[repr(C)]
#[derive(Debug)]
pub(super) struct RotationCall {
    cut: Cut,
    x: *const c_void,
    cos: *const c_void,
    sin: *const c_void,
    y: *mut c_void,
    /// Elements from one text, one head and one row to the next.
    strides: [i64; 3],
    /// Elements from one text and one row to the next.
    angle_strides: [i64; 2],
    times: i64,
    heads: i64,
    width: i64,
    direction: i32,
}

impl Call for RotationCall {
    fn cut(&self) -> &Cut {
        &self.cut
    }

    unsafe fn run<T: Element>(&self, rows: Range<usize>) {
        vectorize(Rotations::<T> { call: self, rows, of: PhantomData });
    }
}

/// Rows of a call that are there, of this dtype, and this job's alone.
struct Rotations<'a, T> {
    call: &'a RotationCall,
    rows: Range<usize>,
    of: PhantomData<T>,
}

impl<T: Element> Job for Rotations<'_, T> {
    #[inline(always)]
    fn run(self) {
        let call = self.call;
        let [times, heads, width] = [call.times, call.heads, call.width].map(size);
        let ([of_text, of_head, of_time], [angle_of_text, angle_of_time]) =
            (call.strides.map(size), call.angle_strides.map(size));
        for row in self.rows {
            let (head, time, text) = (row % heads, row / heads % times, row / heads / times);
            let angle = text * angle_of_text + time * angle_of_time;
            let at = text * of_text + head * of_head + time * of_time;
            // SAFETY: as the job says.
            let (x, cos, sin, y) = unsafe {
                (
                    slice::from_raw_parts(call.x.cast::<T>().add(at), width),
                    slice::from_raw_parts(call.cos.cast::<T>().add(angle), width),
                    slice::from_raw_parts(call.sin.cast::<T>().add(angle), width),
                    slice::from_raw_parts_mut(call.y.cast::<T>().add(row * width), width),
                )
            };
            let halves = |x| <[T]>::split_at(x, width / 2);
            let (x, cos, mut sin) = (halves(x), halves(cos), halves(sin));
            if call.direction == BACKWARD {
                // What was multiplied into one half comes back from there.
                sin = (sin.1, sin.0);
            }
            let y = y.split_at_mut(width / 2);
            Half { x: x.0, other: x.1, cos: cos.0, sin: sin.0, y: y.0 }.run();
            Half { x: x.1, other: x.0, cos: cos.1, sin: sin.1, y: y.1 }.run();
        }
    }
}

/// `y = x cos + other sin`
struct Half<'a, T> {
    x: &'a [T],
    other: &'a [T],
    cos: &'a [T],
    sin: &'a [T],
    y: &'a mut [T],
}

impl<T: Element> Half<'_, T> {
    #[inline(always)]
    fn run(self) {
        let pairs = self.x.iter().zip(self.other).zip(self.cos.iter().zip(self.sin));
        for (((x, other), (cos, sin)), y) in pairs.zip(self.y) {
            *y = T::narrow(x.wide() * cos.wide() + other.wide() * sin.wide());
        }
    }
}
