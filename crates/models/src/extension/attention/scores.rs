//! From the products of queries and keys to scores, in powers of two.

#[allow(clippy::wildcard_imports, reason = "many intrinsics, all from one place")]
use std::arch::x86_64::*;

use super::call::{Call, Head};
use super::element::Element;
use super::vector::{LANES, exp2, lanes_below};
use std::f32::consts::LOG2_E;
use std::ops::Range;

/// How a product becomes a score.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scoring {
    /// Of the product, to the argument of `2^x` or of `tanh`.
    scale: f32,
    /// Of `tanh`, to the argument of `2^x`.
    cap: Option<f32>,
}

/// The keys of a tile that one query sees.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen<'a, T> {
    /// How many, from the first one on.
    count: usize,
    /// What is added to their scores.
    mask: Option<&'a [T]>,
}

impl Scoring {
    pub(super) fn new(call: &Call) -> Self {
        if call.softcap > 0.0 {
            Self { scale: call.scale / call.softcap, cap: Some(call.softcap * LOG2_E) }
        } else {
            Self { scale: call.scale * LOG2_E, cap: None }
        }
    }

    /// The scores of sixteen products, and the slope of the soft cap at each.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
    #[inline]
    pub(super) fn scores(self, products: __m512) -> [__m512; 2] {
        let one = _mm512_set1_ps(1.0);
        let scaled = _mm512_mul_ps(products, _mm512_set1_ps(self.scale));
        match self.cap {
            None => [scaled, one],
            Some(cap) => {
                let tanh = tanh(scaled);
                [_mm512_mul_ps(tanh, _mm512_set1_ps(cap)), _mm512_fnmadd_ps(tanh, tanh, one)]
            }
        }
    }
}

/// `1 - 2 / (e^2x + 1)`
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
#[inline]
fn tanh(x: __m512) -> __m512 {
    let one = _mm512_set1_ps(1.0);
    let power = exp2(_mm512_mul_ps(x, _mm512_set1_ps(2.0 * LOG2_E)));
    _mm512_sub_ps(one, _mm512_div_ps(_mm512_set1_ps(2.0), _mm512_add_ps(power, one)))
}

impl<'a, T: Element> Seen<'a, T> {
    /// What the queries of a block see of a block of keys; what is behind the last query sees what that one sees.
    ///
    /// # Safety
    /// Text and blocks are there, of this dtype, and nothing writes the mask meanwhile.
    pub(super) unsafe fn of(
        call: &'a Call,
        of: Head,
        queries: Range<usize>,
        block: usize,
    ) -> impl Fn(usize) -> Self + 'a {
        let keys = call.block_keys(block);
        move |row| {
            let query = (queries.start + row).min(queries.end - 1);
            let count = call.seen(query).clamp(keys.start, keys.end) - keys.start;
            // SAFETY: as promised by the caller.
            Self { count, mask: unsafe { call.mask(of.text, query, block) } }
        }
    }

    /// The scores of keys `at` and those behind it: minus infinity where they are not seen.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
    #[inline]
    pub(super) fn mask(self, scores: __m512, at: usize) -> __m512 {
        let mut scores = scores;
        if let Some(mask) = self.mask {
            // SAFETY: the function has the instructions.
            let mask = unsafe { T::widened(&mask[at.min(mask.len())..]) };
            scores = _mm512_fmadd_ps(mask, _mm512_set1_ps(LOG2_E), scores);
        }
        if self.count < at + LANES {
            let seen = lanes_below(self.count.saturating_sub(at));
            scores = _mm512_mask_blend_ps(seen, _mm512_set1_ps(f32::NEG_INFINITY), scores);
        }
        scores
    }
}
