//! The two dtypes, and how they lie in products.
//!
//! A right side of bf16 has pairs of its rows side by side, `[rows / 2, columns, 2]`; one of f32 is a plain matrix.

use super::super::ffi;
use super::call::KEYS;
use super::pack;
use super::vector::{self, LANES};
use half::bf16;
use std::arch::x86_64::__m512;
use std::ffi::c_int;

/// Elements of two vectors.
pub(super) const CHUNK: usize = 2 * LANES;

/// A dtype.
///
/// # Safety
/// The functions are to be called where AVX-512 F, BW, VL, DQ and, for bf16, BF16 are enabled.
pub(super) trait Element: Copy + 'static {
    const ZERO: Self;

    /// Up to sixteen elements, and zeros.
    unsafe fn widened(from: &[Self]) -> __m512;

    /// Two vectors, one behind the other.
    unsafe fn store(x: [__m512; 2], to: &mut [Self; CHUNK]);

    /// Vector number `v` of two rows of keys of a right side.
    unsafe fn store_rows(x: [__m512; 2], v: usize, to: &mut [Self; 2 * KEYS]);

    /// A plain matrix `[rows, width]` as a right side.
    unsafe fn paired(rows: &[Self], width: usize, to: &mut [Self]);

    /// Its transpose as a right side.
    unsafe fn turned(rows: &[Self], width: usize, to: &mut [Self]);

    /// A right side, which has so many columns, as a plain matrix.
    unsafe fn parted(right: &[Self], columns: usize, to: &mut [Self]);

    /// `brgemm` of libtorch, which catches exceptions: the sizes `m`, `n`, `k`, whether it adds, and `[m, k]`, a right side
    /// `[k, n]`, and `[m, n]`, which nothing else refers to.
    const BRGEMM: Brgemm<Self>;
}

/// 0, or 1 after an exception.
pub(super) type Brgemm<T> = unsafe extern "C" fn(i64, i64, i64, c_int, *const T, *const T, *mut f32) -> c_int;

impl Element for bf16 {
    const ZERO: Self = bf16::ZERO;
    const BRGEMM: Brgemm<Self> = ffi::qtuner_models_brgemm_bf16;

    #[inline(always)]
    unsafe fn widened(from: &[Self]) -> __m512 {
        // SAFETY: as the trait says; and so below.
        unsafe { vector::widened(from) }
    }

    #[inline(always)]
    unsafe fn store(x: [__m512; 2], to: &mut [Self; CHUNK]) {
        // SAFETY: see above.
        unsafe { vector::store_narrowed(x, to) }
    }

    #[inline(always)]
    unsafe fn store_rows(x: [__m512; 2], v: usize, to: &mut [Self; 2 * KEYS]) {
        // SAFETY: see above.
        unsafe { vector::store_paired(x, &mut to.as_chunks_mut().0[v]) }
    }

    unsafe fn paired(rows: &[Self], width: usize, to: &mut [Self]) {
        // SAFETY: see above.
        unsafe { pack::side_by_side(rows, width, to) }
    }

    unsafe fn turned(rows: &[Self], width: usize, to: &mut [Self]) {
        // SAFETY: see above.
        unsafe { pack::turned_in_pairs(rows, width, to) }
    }

    unsafe fn parted(right: &[Self], columns: usize, to: &mut [Self]) {
        // SAFETY: see above.
        unsafe { pack::apart(right, columns, to) }
    }
}

impl Element for f32 {
    const ZERO: Self = 0.0;
    const BRGEMM: Brgemm<Self> = ffi::qtuner_models_brgemm_f32;

    #[inline(always)]
    unsafe fn widened(from: &[Self]) -> __m512 {
        // SAFETY: as the trait says; and so below.
        unsafe { vector::load_some(from) }
    }

    #[inline(always)]
    unsafe fn store([first, second]: [__m512; 2], to: &mut [Self; CHUNK]) {
        let ([lower, upper], _) = to.as_chunks_mut::<LANES>() else { return };
        // SAFETY: see above.
        unsafe {
            vector::store(first, lower);
            vector::store(second, upper);
        }
    }

    #[inline(always)]
    unsafe fn store_rows(x: [__m512; 2], v: usize, to: &mut [Self; 2 * KEYS]) {
        let rows = to.as_chunks_mut::<KEYS>().0;
        for (x, row) in x.into_iter().zip(rows) {
            // SAFETY: see above.
            unsafe { vector::store(x, &mut row.as_chunks_mut().0[v]) }
        }
    }

    unsafe fn paired(rows: &[Self], _: usize, to: &mut [Self]) {
        to.copy_from_slice(rows);
    }

    unsafe fn turned(rows: &[Self], width: usize, to: &mut [Self]) {
        // SAFETY: see above.
        unsafe { pack::transposed(rows, width, to) }
    }

    unsafe fn parted(right: &[Self], _: usize, to: &mut [Self]) {
        to.copy_from_slice(right);
    }
}
