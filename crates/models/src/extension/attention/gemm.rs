//! Products of tiles: libtorch's `brgemm`, which is oneDNN's micro-kernels.

use super::super::ffi;
use super::element::Element;
use half::bf16;
use std::sync::OnceLock;

/// Where a product goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sum {
    /// In place of what was there.
    New,
    /// Onto it.
    Added,
}

/// `out [m, n] = left [m, k] right [k, n]`, all contiguous, with a right side as `element` says.
///
/// # Panics
///
/// If a slice is shorter than that, or libtorch refuses.
pub(super) fn multiply<T: Element>(
    sum: Sum,
    [m, n, k]: [usize; 3],
    left: &[T],
    right: &[T],
    out: &mut [f32],
) {
    assert!(
        left.len() >= m * k && right.len() >= k * n && out.len() >= m * n,
        "a product's operands are there"
    );
    assert!(try_multiply(sum, [m, n, k], left, right, out), "libtorch has no product of tiles");
}

fn try_multiply<T: Element>(sum: Sum, sizes: [usize; 3], left: &[T], right: &[T], out: &mut [f32]) -> bool {
    let [m, n, k] = sizes.map(|size| i64::try_from(size).unwrap_or(i64::MAX));
    let adds = (sum == Sum::Added).into();
    // SAFETY: `multiply` has checked the slices, which live until the function returns.
    unsafe { T::BRGEMM(m, n, k, adds, left.as_ptr(), right.as_ptr(), out.as_mut_ptr()) == 0 }
}

/// Gives back what the CPU may hold for products.
pub(super) fn release() {
    // SAFETY: the function takes nothing and catches exceptions. That it fails would mean that there is nothing to give back.
    unsafe { ffi::qtuner_models_brgemm_release() };
}

/// Whether CPU and libtorch have such products: asked once, with small ones.
pub(super) fn is_available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| {
        let made = is_right(&[bf16::ONE; 16 * 16]) && is_right(&[1.0_f32; 16 * 16]);
        release();
        made
    })
}

/// Whether a product of ones is right.
fn is_right<T: Element>(ones: &[T; 16 * 16]) -> bool {
    let mut out = [0.0; 16 * 16];
    try_multiply(Sum::New, [16, 16, 16], ones, ones, &mut out)
        && out.iter().all(|sum| (sum - 16.0).abs() < f32::EPSILON)
}
