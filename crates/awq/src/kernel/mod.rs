//! The numbers of an AWQ layer, in Rust alone: `y = x * W + bias` and `grad_x = grad_y * W^T`.
//!
//! The weight stays packed ([`Packed`]). Its entries are exactly `round((q - z) * s)`, rounded once to the scales'
//! dtype, but for bf16 activations: with few rows they are not rounded at all, with many they are rounded to bf16 where
//! the CPU multiplies pairs of it. Products accumulate in f32, or those of the terms that they are made of do; the bias is added
//! in f32, and one rounding takes the sum to the dtype of the activations. An output's value depends on the shapes and the instruction set alone: not on the number
//! of threads, nor on their timing. Infinities and NaN go through as in any matrix product.
//!
//! | module | what |
//! |---|---|
//! | `packed` | the packed weight, borrowed and checked |
//! | `weigh`, `weights` | codes to exact weights, in vectors, where they are used or to be kept |
//! | `codes` | products with up to a few dozen rows of bf16, where the CPU multiplies pairs of it |
//! | `few_rows` | other products with up to a few dozen rows, in f32 |
//! | `by_column` | products with few rows, in f32, of a weight that is column-major |
//! | `many_rows` | products bound by arithmetic |
//! | `dequantize` | the dense weight, for the tests |
//! | `simd`, `isa` | instruction sets, and the choice among them |
//! | `element`, `rounding` | dtypes of activations |
//! | `parts`, `strips`, `ahead` | how products with few rows are cut, and what they fetch |
//! | `output`, `parallel` | tasks, and what each may write |
#![allow(
    clippy::inline_always,
    reason = "code must be inlined into the function that enables its instructions"
)]
#![cfg_attr(
    not(target_arch = "x86_64"),
    expect(dead_code, reason = "no pairs of bf16, and no products of codes")
)]

mod ahead;
mod by_column;
mod codes;
#[cfg(test)]
mod dequantize;
mod element;
mod few_rows;
mod isa;
mod many_rows;
mod output;
mod packed;
mod panel;
mod parallel;
mod parts;
mod rounding;
mod simd;
mod strips;
#[cfg(test)]
mod tests;
mod weigh;
mod weights;

pub(crate) use self::element::Element;
pub(crate) use self::isa::Isa;
pub(crate) use self::packed::{Major, Packed, Scales};
pub(crate) use self::parallel::ParallelFor;

/// `y [M, O] = x [M, I] * W [I, O] + bias [O]`, all contiguous; `M` is what `y` has rows for.
///
/// # Panics
///
/// If `x` is not of `M * I` elements, `y` not of whole rows or `bias` not of `O` elements.
pub(crate) fn forward<T: Element>(
    x: &[T],
    packed: &Packed<'_>,
    bias: Option<&[f32]>,
    y: &mut [T],
    pool: &dyn ParallelFor,
    isa: Isa,
) {
    let (inner, outer) = (packed.in_features(), packed.out_features());
    let Some(rows) = checked_rows(x.len(), inner, y.len(), outer) else { return };
    if let Some(bias) = bias {
        assert_eq!(bias.len(), outer, "a bias has one element for each output");
    }
    if inner == 0 {
        // An empty sum: the bias alone.
        let zeros = vec![0.0; outer];
        for y in y.chunks_exact_mut(outer) {
            T::narrow(simd::Portable, bias.unwrap_or(&zeros), y);
        }
        return;
    }
    if packed.major() == Major::Column {
        if rows <= by_column::MOST_ROWS {
            return by_column::forward(x, packed, bias, y, pool, isa);
        }
        return many_rows::forward(x, packed, bias, y, pool, isa);
    }
    let few = few_rows::most_rows::<T>(isa);
    if rows > codes::MOST_ROWS.max(few) {
        return many_rows::forward(x, packed, bias, y, pool, isa);
    }
    let batch = parts::most_rows(packed);
    for (x, y) in x.chunks(batch * inner).zip(y.chunks_mut(batch * outer)) {
        let made = codes::forward(x, packed, bias, y, pool, isa) == codes::Outcome::Made;
        if !made && rows <= few {
            few_rows::forward(x, packed, bias, y, pool, isa);
        } else if !made {
            many_rows::forward(x, packed, bias, y, pool, isa);
        }
    }
}

/// `grad_x [M, I] = grad_y [M, O] * W^T [O, I]`, all contiguous; `M` is what `grad_x` has rows for.
///
/// # Panics
///
/// If `grad_y` is not of `M * O` elements or `grad_x` not of whole rows.
pub(crate) fn grad_input<T: Element>(
    grad_y: &[T],
    packed: &Packed<'_>,
    grad_x: &mut [T],
    pool: &dyn ParallelFor,
    isa: Isa,
) {
    let (inner, outer) = (packed.out_features(), packed.in_features());
    let Some(rows) = checked_rows(grad_y.len(), inner, grad_x.len(), outer) else { return };
    if inner == 0 {
        grad_x.fill(T::default());
    } else if rows <= few_rows::most_gradient_rows::<T>(packed, isa) {
        match packed.major() {
            Major::Row => few_rows::grad_input(grad_y, packed, grad_x, pool, isa),
            Major::Column => by_column::grad_input(grad_y, packed, grad_x, pool, isa),
        }
    } else {
        many_rows::grad_input(grad_y, packed, grad_x, pool, isa);
    }
}

/// The order of the words of a weight of such groups in which this CPU multiplies activations of `T` faster.
///
/// Exact weights are looked up faster than they are computed where one instruction looks up sixteen, which is in AVX-512. The
/// codes themselves, which bf16 meets, are not, and groups of 32 rows do not repay their tables. With AMX it was not measured.
pub(crate) fn fastest_order<T: Element>(group_size: i64) -> Major {
    let looked_up = !T::IS_BF16 && Isa::current() == Ok(Isa::Avx512);
    let repaid = usize::try_from(group_size).is_ok_and(|size| size >= few_rows::SHORT_GROUP);
    if looked_up && repaid && takes_columns(group_size) { Major::Column } else { Major::Row }
}

/// Whether a weight of such groups can be [`Major::Column`].
pub(crate) fn takes_columns(group_size: i64) -> bool {
    usize::try_from(group_size).is_ok_and(|size| size.is_multiple_of(packed::BLOCK_ROWS))
}

/// The rows of a product, if it has any elements.
fn checked_rows(left: usize, inner: usize, right: usize, outer: usize) -> Option<usize> {
    if outer == 0 || right == 0 {
        assert_eq!(right, 0, "a product without columns has no elements");
        return None;
    }
    let rows = right / outer;
    assert_eq!(right, rows * outer, "the output has whole rows");
    assert_eq!(left, rows * inner, "input and output have the same rows");
    Some(rows)
}
