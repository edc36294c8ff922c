//! The CPU kernels as `extension.cpp` calls them: plain pointers in, a message or nothing out.

use super::pool::TorchPool;
use crate::kernel::{self, Element, Isa, Major, Packed, Scales};
use half::{bf16, f16};
use std::any::Any;
use std::ffi::{CString, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::{cell::RefCell, ptr, slice};

/// `c10::ScalarType`.
const HALF: i32 = 5;
const FLOAT: i32 = 6;
const BFLOAT16: i32 = 15;

/// One call of a kernel; mirrored in `extension.cpp`, which owns what the pointers point at until the call returns.
#[repr(C)]
pub(super) struct Call {
    input: *const c_void,
    output: *mut c_void,
    qweight: *const i32,
    qzeros: *const i32,
    scales: *const c_void,
    bias: *const f32,
    rows: i64,
    in_features: i64,
    out_features: i64,
    group_size: i64,
    input_dtype: i32,
    scales_dtype: i32,
    column_major: i32,
}

/// Which kernel, and with it which side is `in_features` wide.
#[derive(Clone, Copy)]
enum Direction {
    Forward,
    GradInput,
}

#[unsafe(no_mangle)]
extern "C" fn qtuner_awq_cpu_gemm(call: *const Call) -> *const c_char {
    entry(call, Direction::Forward)
}

#[unsafe(no_mangle)]
extern "C" fn qtuner_awq_cpu_gemm_grad_input(call: *const Call) -> *const c_char {
    entry(call, Direction::GradInput)
}

/// Runs a kernel with panics fenced off; returns null, or a message that lives until the thread's next failure.
fn entry(call: *const Call, direction: Direction) -> *const c_char {
    // SAFETY: C++ passes a pointer to a `Call` on its stack.
    let call = unsafe { &*call };
    match catch_unwind(AssertUnwindSafe(|| run(call, direction))) {
        Ok(Ok(())) => ptr::null(),
        Ok(Err(message)) => keep(&message),
        Err(payload) => keep(&format!("a kernel panicked: {}", message_of(&*payload))),
    }
}

fn message_of(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

fn keep(message: &str) -> *const c_char {
    thread_local! {
        static MESSAGE: RefCell<CString> = RefCell::default();
    }
    let message = CString::new(message.replace('\0', " ")).unwrap_or_default();
    MESSAGE.with_borrow_mut(|kept| {
        *kept = message;
        kept.as_ptr()
    })
}

fn run(call: &Call, direction: Direction) -> Result<(), String> {
    match call.input_dtype {
        FLOAT => run_typed::<f32>(call, direction),
        BFLOAT16 => run_typed::<bf16>(call, direction),
        HALF => run_typed::<f16>(call, direction),
        other => Err(format!("scalar type {other} of the input, expected float32, bfloat16 or float16")),
    }
}

fn run_typed<T: Element>(call: &Call, direction: Direction) -> Result<(), String> {
    let size = |value: i64| usize::try_from(value).map_err(|_| format!("a size of {value}"));
    let (rows, group_size) = (size(call.rows)?, size(call.group_size)?);
    let (in_features, out_features) = (size(call.in_features)?, size(call.out_features)?);
    let words = out_features / 8;
    let groups = in_features.checked_div(group_size).unwrap_or(0);
    let isa = Isa::current().map_err(|error| error.to_string())?;

    // SAFETY: C++ checked the shapes and made everything contiguous; the lengths below are those shapes, the memory lives
    // until this call returns, and the output is memory that nothing else refers to.
    let (packed, input, output, bias) = unsafe {
        let scales = match call.scales_dtype {
            FLOAT => Scales::F32(borrowed(call.scales.cast(), groups * out_features)),
            BFLOAT16 => Scales::Bf16(borrowed(call.scales.cast(), groups * out_features)),
            HALF => Scales::F16(borrowed(call.scales.cast(), groups * out_features)),
            other => return Err(format!("scalar type {other} of the scales")),
        };
        let qweight = borrowed(call.qweight, in_features * words);
        let major = if call.column_major == 0 { Major::Row } else { Major::Column };
        let qzeros = borrowed(call.qzeros, groups * words);
        let packed = Packed::new((qweight, major), qzeros, scales, in_features, out_features, group_size)
            .map_err(|error| error.to_string())?;
        let (features, result_features) = match direction {
            Direction::Forward => (in_features, out_features),
            Direction::GradInput => (out_features, in_features),
        };
        let bias = (!call.bias.is_null()).then(|| borrowed(call.bias, out_features));
        let input = borrowed(call.input.cast::<T>(), rows * features);
        let output = match rows * result_features {
            0 => &mut [],
            len => slice::from_raw_parts_mut(call.output.cast::<T>(), len),
        };
        (packed, input, output, bias)
    };
    match direction {
        Direction::Forward => kernel::forward(input, &packed, bias, output, &TorchPool, isa),
        Direction::GradInput => kernel::grad_input(input, &packed, output, &TorchPool, isa),
    }
    Ok(())
}

/// A slice over memory that C++ owns; empty for a null pointer, which is what an empty tensor has.
///
/// # Safety
/// A pointer that is not null points at `len` values that live, unchanged, as long as the slice is used.
unsafe fn borrowed<'a, T>(pointer: *const T, len: usize) -> &'a [T] {
    if pointer.is_null() || len == 0 {
        return &[];
    }
    // SAFETY: as promised by the caller.
    unsafe { slice::from_raw_parts(pointer, len) }
}
