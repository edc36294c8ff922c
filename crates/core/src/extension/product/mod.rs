//! The numbers of an adapter on a CPU, for factors in f32 and activations in f32 or bf16, and those of a dense layer where
//! few rows meet it: four forms of product and a copy, which `products.cpp` cuts into tasks and spreads over libtorch's threads.
//!
//! | module | product |
//! |---|---|
//! | `dots` | `low = scale * x a^T`: rows against rows, with sums of thousands of terms |
//! | `sums`, `few` | `y = base + round(scale * (left right + bias))`, with few terms; the rounding is to the dtype of `y` |
//! | `narrow` | `low = scale * x b` and `scale * x^T low`, the gradient of `b`, for few rows, with `b` as it lies |
//! | `turn` | rows for columns |
//! | `dense` | `y = round(x w^T + bias)`, for few rows |
//!
//! All sum in f32 and read activations in their own dtype. A result depends on shapes and the instruction set alone, not
//! on threads.
#![allow(
    clippy::inline_always,
    reason = "code must be inlined into the function that enables its instructions"
)]
#![allow(clippy::many_single_char_names, reason = "the letters of the formulas")]

mod dense;
mod dots;
mod element;
mod few;
mod narrow;
mod simd;
mod sums;
#[cfg(test)]
mod tests;
mod turn;
mod view;

use self::dense::Dense;
use self::dots::Dots;
use self::element::Element;
use self::narrow::{Narrow, Outer};
use self::simd::dispatch;
use self::sums::{Base, COLUMNS, ROWS, Sums, Workspace};
use self::turn::Turn;
use self::view::{Matrix, View};
use half::bf16;
use std::ffi::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::{ptr, slice};

/// `c10::ScalarType::BFloat16`; any other dtype is f32 here.
const BFLOAT16: i32 = 15;

/// A matrix on the C++ side, which owns it until the call returns; mirrored in `products.cpp`.
#[repr(C)]
struct MatrixCall {
    data: *const c_void,
    dtype: i32,
    strides: [i64; 2],
}

/// `low [.., m, r] = scale * x [m, n] a [r, n]^T`, both of contiguous rows; mirrored in `products.cpp`.
///
/// A task has `rows` rows and `columns` columns at most, and writes its rows of `low [tasks across, m, r]`.
#[repr(C)]
struct DotsCall {
    x: *const c_void,
    x_dtype: i32,
    a: *const f32,
    low: *mut f32,
    scale: f32,
    m: i64,
    n: i64,
    r: i64,
    rows: i64,
    columns: i64,
}

/// `y [m, n] = base + round(scale * (left [m, k] right [k, n] + bias [n]))`; mirrored in `products.cpp`.
///
/// `left`, and any `bias`, are of f32; `y` and any `base` are contiguous, of one dtype, and apart, or one and the same.
#[repr(C)]
struct SumsCall {
    left: MatrixCall,
    right: MatrixCall,
    bias: *const f32,
    base: *const c_void,
    y: *mut c_void,
    dtype: i32,
    scale: f32,
    m: i64,
    k: i64,
    n: i64,
}

/// `y [m, o] = round(x [m, n] w [o, n]^T + bias [o])`, with `x` in f32 and everything else, contiguous, in one dtype;
/// mirrored in `products.cpp`. A task has `rows` rows of `w` at most.
#[repr(C)]
struct DenseCall {
    x: *const f32,
    w: *const c_void,
    bias: *const c_void,
    y: *mut c_void,
    dtype: i32,
    m: i64,
    n: i64,
    o: i64,
    rows: i64,
}

/// `grad_low [tasks, m, r] = scale * x [m, n] b [n, r]`, and `grad_b [n, r] = scale * x^T low [m, r]`, with contiguous rows;
/// mirrored in `products.cpp`. What is null is not wanted. A task has `rows` rows of `b` at most.
#[repr(C)]
struct NarrowCall {
    x: *const c_void,
    x_dtype: i32,
    b: *const f32,
    low: *const f32,
    grad_low: *mut f32,
    grad_b: *mut f32,
    scale: f32,
    m: i64,
    n: i64,
    r: i64,
    rows: i64,
}

/// `turned [r, n] = matrix [n, r]^T`, both of contiguous rows; mirrored in `products.cpp`. A task has a square of the matrix,
/// `side` rows and columns at most.
#[repr(C)]
struct TurnCall {
    matrix: *const f32,
    turned: *mut f32,
    n: i64,
    r: i64,
    side: i64,
}

/// An entry for C++, which does tasks `begin..end` of a call; 0, or 1 after a panic.
macro_rules! entry {
    ($name:ident, $call:ty, $task:expr) => {
        #[doc = concat!("Tasks `begin..end` of a [`", stringify!($call), "`]; 0, or 1 after a panic.")]
        #[unsafe(no_mangle)]
        extern "C" fn $name(call: *const $call, begin: i64, end: i64) -> c_int {
            // SAFETY: C++ passes a pointer to a call on its stack.
            let call = unsafe { &*call };
            let task: fn(&$call, usize) = $task;
            fenced(begin, end, |index| task(call, index))
        }
    };
    ($name:ident, $call:ty, $task:ident of $dtype:ident) => {
        entry!($name, $call, |call, index| match call.$dtype {
            BFLOAT16 => $task::<bf16>(call, index),
            _ => $task::<f32>(call, index),
        });
    };
}

entry!(qtuner_core_dots, DotsCall, dots of x_dtype);
entry!(qtuner_core_sums, SumsCall, sums of dtype);
entry!(qtuner_core_narrow, NarrowCall, narrow of x_dtype);
entry!(qtuner_core_dense, DenseCall, dense of dtype);
entry!(qtuner_core_turn, TurnCall, turn);

/// How many tasks a call is.
#[unsafe(no_mangle)]
extern "C" fn qtuner_core_sums_tasks(m: i64, n: i64) -> i64 {
    i64::try_from(size(m).div_ceil(ROWS) * size(n).div_ceil(COLUMNS)).unwrap_or(0)
}

/// No panic crosses into C++.
fn fenced(begin: i64, end: i64, task: impl Fn(usize)) -> c_int {
    c_int::from(catch_unwind(AssertUnwindSafe(|| (size(begin)..size(end)).for_each(task))).is_err())
}

/// Sizes are never negative.
fn size(size: i64) -> usize {
    usize::try_from(size).unwrap_or(0)
}

fn dots<T: Element>(call: &DotsCall, task: usize) {
    let [m, n, r, rows, columns] = [call.m, call.n, call.r, call.rows, call.columns].map(size);
    let down = m.div_ceil(rows);
    let (row, column) = (task % down * rows, task / down * columns);
    let count = rows.min(m - row);
    // SAFETY: as the call says, C++ holds `x` and `a`, which nothing changes meanwhile, and these rows of `low`, which no other
    // task touches.
    let (x, a, low) = unsafe {
        let low = call.low.add((task / down * m + row) * r);
        let x = slice::from_raw_parts(call.x.cast::<T>().add(row * n), count * n);
        (x, slice::from_raw_parts(call.a, r * n), slice::from_raw_parts_mut(low, count * r))
    };
    dispatch(Dots { x, a, n, r, columns: column..n.min(column + columns), scale: call.scale, low });
}

fn sums<T: Element>(call: &SumsCall, task: usize) {
    let [m, k, n] = [call.m, call.k, call.n].map(size);
    let across = n.div_ceil(COLUMNS);
    let place = [task / across * ROWS, task % across * COLUMNS];
    let rows = place[0]..m.min(place[0] + ROWS);
    let columns = COLUMNS.min(n - place[1]);
    // SAFETY: as the call says, C++ holds every operand, which nothing changes meanwhile, and this tile of `y`, which no other
    // task touches and no operand overlaps, but for a base that is `y` itself, of which no slice is made.
    let (left, right, bias, base, mut y) = unsafe {
        let right = match call.right.dtype {
            BFLOAT16 => Matrix::Bf16(view(&call.right, [k, n])),
            _ => Matrix::F32(view(&call.right, [k, n])),
        };
        let bias = (!call.bias.is_null()).then(|| slice::from_raw_parts(call.bias.add(place[1]), columns));
        let at = |row: usize| row * n + place[1];
        let of_base = |row| slice::from_raw_parts(call.base.cast::<T>().add(at(row)), columns);
        let base = match call.base {
            base if base.is_null() => Base::None,
            base if ptr::eq(base, call.y) => Base::Result,
            _ => Base::Rows(rows.clone().map(of_base).collect()),
        };
        let y: Vec<&mut [T]> =
            rows.map(|row| slice::from_raw_parts_mut(call.y.cast::<T>().add(at(row)), columns)).collect();
        (view(&call.left, [m, k]), right, bias, base, y)
    };
    let mut workspace = Workspace::take();
    dispatch(Sums {
        left,
        right,
        depth: k,
        place,
        columns,
        scale: call.scale,
        bias,
        y: &mut y,
        base,
        workspace: &mut workspace,
    });
    workspace.put_back();
}

fn dense<T: Element>(call: &DenseCall, task: usize) {
    let [m, n, o, rows] = [call.m, call.n, call.o, call.rows].map(size);
    let first = task * rows;
    let count = rows.min(o - first);
    // SAFETY: as the call says, C++ holds every operand, which nothing changes meanwhile, and these columns of `y`, which no
    // other task touches.
    let (x, w, bias, mut y) = unsafe {
        let bias = call.bias.cast::<T>();
        let bias = (!bias.is_null()).then(|| slice::from_raw_parts(bias.add(first), count));
        let y = |row: usize| slice::from_raw_parts_mut(call.y.cast::<T>().add(row * o + first), count);
        let w = slice::from_raw_parts(call.w.cast::<T>().add(first * n), count * n);
        (slice::from_raw_parts(call.x, m * n), w, bias, (0..m).map(y).collect::<Vec<_>>())
    };
    dispatch(Dense { x, n, w, bias, y: &mut y });
}

/// The columns of `x` that a task has.
///
/// # Safety
/// `x` is of this dtype and lives, unchanged, as long as they.
unsafe fn columns_of<'a, T>(call: &NarrowCall, task: usize) -> (usize, usize, Vec<&'a [T]>) {
    let [m, n, rows] = [call.m, call.n, call.rows].map(size);
    let first = task * rows;
    let count = rows.min(n - first);
    // SAFETY: as promised by the caller.
    let row = |row: usize| unsafe { slice::from_raw_parts(call.x.cast::<T>().add(row * n + first), count) };
    (first, count, (0..m).map(row).collect())
}

fn narrow<T: Element>(call: &NarrowCall, task: usize) {
    let ([m, r], scale) = ([call.m, call.r].map(size), call.scale);
    // SAFETY: as the call says, C++ holds `x`, which nothing changes meanwhile.
    let (first, count, x) = unsafe { columns_of::<T>(call, task) };
    if !call.grad_low.is_null() {
        // SAFETY: so it does `b`, and these rows of `grad_low`, which no other task touches.
        let (b, low) = unsafe {
            let low = slice::from_raw_parts_mut(call.grad_low.add(task * m * r), m * r);
            (slice::from_raw_parts(call.b.add(first * r), count * r), low)
        };
        dispatch(Narrow { x: &x, b, r, scale, low });
    }
    if !call.grad_b.is_null() {
        // SAFETY: so it does `low`, and these rows of `grad_b`, which no other task touches.
        let (low, grad) = unsafe {
            let grad = slice::from_raw_parts_mut(call.grad_b.add(first * r), count * r);
            (slice::from_raw_parts(call.low, m * r), grad)
        };
        dispatch(Outer { x: &x, low, r, scale, grad });
    }
}

fn turn(call: &TurnCall, task: usize) {
    let [n, r, side] = [call.n, call.r, call.side].map(size);
    let across = r.div_ceil(side);
    let (row, column) = (task / across * side, task % across * side);
    let (rows, columns) = (side.min(n - row), side.min(r - column));
    // SAFETY: as the call says, C++ holds the matrix, which nothing changes meanwhile, and this part of `turned`, which no other
    // task touches.
    let (matrix, mut turned) = unsafe {
        let turned =
            |index: usize| slice::from_raw_parts_mut(call.turned.add((column + index) * n + row), rows);
        let matrix = slice::from_raw_parts(call.matrix.add(row * r + column), (rows - 1) * r + columns);
        (matrix, (0..columns).map(turned).collect::<Vec<_>>())
    };
    dispatch(Turn { matrix, stride: r, turned: &mut turned });
}

/// # Safety
/// The matrix is of this dtype and these sizes, and lives, unchanged, as long as the view.
unsafe fn view<'a, T>(matrix: &MatrixCall, sizes: [usize; 2]) -> View<'a, T> {
    let strides = matrix.strides.map(size);
    let len =
        if sizes.contains(&0) { 0 } else { (sizes[0] - 1) * strides[0] + (sizes[1] - 1) * strides[1] + 1 };
    if len == 0 || matrix.data.is_null() {
        return View { elements: &[], strides };
    }
    // SAFETY: as promised by the caller.
    View { elements: unsafe { slice::from_raw_parts(matrix.data.cast(), len) }, strides }
}
