//! Causal attention, where the CPU has AVX-512 BF16.

#[cfg(target_arch = "x86_64")]
use std::ptr;
#[cfg(target_arch = "x86_64")]
use tch::{Device, Kind};
use tch::{TchError, Tensor};

/// What attention is made of: `query [batch, heads, queries, width]`, `key` and `value [batch, key heads, keys, width]`.
///
/// Queries are those of the last positions, and see no key behind their own.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "no CPU of another kind takes them"))]
pub(crate) struct Attended<'a> {
    pub(crate) query: &'a Tensor,
    pub(crate) key: &'a Tensor,
    pub(crate) value: &'a Tensor,
    /// `[batch or 1, 1, queries, keys]`, added to the scores; not trained.
    pub(crate) mask: Option<&'a Tensor>,
    pub(crate) scale: f64,
    /// Scores `s` become `softcap * tanh(s / softcap)`.
    pub(crate) softcap: Option<f64>,
}

/// The values that each query takes in, `[batch, heads, queries, width]`; nothing where operands or CPU are not such as this
/// way takes: 64 queries or more in bf16, f32 or f16, in widths of multiples of 32, and AVX-512 BF16.
#[cfg(target_arch = "x86_64")]
pub(crate) fn attend(attended: Attended<'_>) -> Result<Option<Tensor>, TchError> {
    let Attended { query, key, value, mask, scale, softcap } = attended;
    if !takes(&attended) {
        return Ok(None);
    }
    let mask = mask.map_or(ptr::null(), Tensor::as_ptr);
    let [query, key, value] = [query, key, value].map(Tensor::as_ptr);
    let softcap = softcap.unwrap_or(0.0);
    // SAFETY: every pointer is a live tensor (or a null mask) that outlives the call, of the sizes and the dtype that `takes` has
    // checked; the entry catches exceptions and writes an owned tensor where it returns 0.
    unsafe {
        super::made(|out| super::ffi::qtuner_models_attend(query, key, value, mask, scale, softcap, out))
    }
    .map(Some)
}

/// No CPU of this kind has AVX-512.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn attend(_: Attended<'_>) -> Result<Option<Tensor>, TchError> {
    Ok(None)
}

/// Fewer queries are left to libtorch: tiles would be mostly empty. At 32, 14 heads of f32 are half as fast, at 64 about as fast.
#[cfg(target_arch = "x86_64")]
const FEWEST_QUERIES: i64 = 64;

#[cfg(target_arch = "x86_64")]
fn takes(attended: &Attended<'_>) -> bool {
    let Attended { query, key, value, mask, .. } = attended;
    let kind = query.kind();
    let is_plain =
        |x: &Tensor| x.device() == Device::Cpu && x.kind() == kind && !x.is_sparse() && !x.is_mkldnn();
    let (Ok(of_query), Ok(of_key)) = (query.size4(), key.size4()) else { return false };
    let ((batch, heads, queries, width), (_, key_heads, keys, _)) = (of_query, of_key);
    let seen = match mask.map(Tensor::size).as_deref() {
        None => true,
        Some(&[texts, 1, rows, columns]) => {
            (texts == 1 || texts == batch) && [rows, columns] == [queries, keys]
        }
        Some(_) => false,
    };
    [*query, *key, *value].into_iter().chain(*mask).all(is_plain)
        && match kind {
            Kind::BFloat16 | Kind::Float => true,
            // Computed in f32, which is a detour where the CPU has products of f16.
            Kind::Half => !is_x86_feature_detected!("avx512fp16"),
            _ => false,
        }
        && !mask.is_some_and(Tensor::requires_grad)
        && of_key == (batch, key_heads, keys, width)
        && value.size() == key.size()
        && batch > 0
        && key_heads > 0
        && heads > 0
        && heads % key_heads == 0
        && width > 0
        && width % 32 == 0
        && (FEWEST_QUERIES..=keys).contains(&queries)
        && seen
        && super::attention::is_available()
}
