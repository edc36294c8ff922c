//! Sixteen lanes of AVX-512.
//!
//! Every function needs AVX-512 F, BW, VL, DQ and BF16, and is inlined into callers that have them.

#[allow(clippy::wildcard_imports, reason = "many intrinsics, all from one place")]
use std::arch::x86_64::*;

use half::bf16;

/// Lanes of a vector of f32.
pub(super) const LANES: usize = 16;

/// Whether the CPU has the instructions.
pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512bf16")
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
#[inline]
pub(super) fn load(from: &[f32; LANES]) -> __m512 {
    // SAFETY: sixteen elements are there.
    unsafe { _mm512_loadu_ps(from.as_ptr()) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
#[inline]
pub(super) fn store(x: __m512, to: &mut [f32; LANES]) {
    // SAFETY: sixteen elements are there.
    unsafe { _mm512_storeu_ps(to.as_mut_ptr(), x) }
}

/// Up to sixteen elements, and zeros.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
#[inline]
pub(super) fn widened(from: &[bf16]) -> __m512 {
    let lanes = lanes_below(from.len());
    // SAFETY: only the lanes of elements that are there are read.
    let bits = unsafe { _mm256_maskz_loadu_epi16(lanes, from.as_ptr().cast()) };
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(bits)))
}

/// Up to sixteen elements, and zeros.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
#[inline]
pub(super) fn load_some(from: &[f32]) -> __m512 {
    // SAFETY: only the lanes of elements that are there are read.
    unsafe { _mm512_maskz_loadu_ps(lanes_below(from.len()), from.as_ptr()) }
}

/// The lanes with numbers below `count`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
#[inline]
pub(super) fn lanes_below(count: usize) -> __mmask16 {
    if count >= LANES { !0 } else { (1 << count) - 1 }
}

/// Rounds two vectors, one behind the other.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
#[inline]
pub(super) fn store_narrowed(x: [__m512; 2], to: &mut [bf16; 2 * LANES]) {
    store_bits(narrowed(x), to);
}

/// Rounds two vectors, lane by lane side by side.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
#[inline]
pub(super) fn store_paired(x: [__m512; 2], to: &mut [bf16; 2 * LANES]) {
    store_bits(_mm512_permutexvar_epi16(load_table(&SIDE_BY_SIDE), narrowed(x)), to);
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
#[inline]
fn narrowed([first, second]: [__m512; 2]) -> __m512i {
    // SAFETY: both are sixty-four bytes of which every pattern is a value.
    unsafe { std::mem::transmute(_mm512_cvtne2ps_pbh(second, first)) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
#[inline]
fn store_bits(bits: __m512i, to: &mut [bf16; 2 * LANES]) {
    // SAFETY: sixty-four bytes are there.
    unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), bits) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
#[inline]
fn load_bits(from: &[bf16; 2 * LANES]) -> __m512i {
    // SAFETY: sixty-four bytes are there.
    unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
}

/// Indices of sixteen-bit lanes.
type Table = [u16; 2 * LANES];

const fn table(first: u16, second: u16, step: u16) -> Table {
    let mut table = [0; 2 * LANES];
    let mut lane = 0;
    while lane < LANES {
        #[expect(clippy::cast_possible_truncation, reason = "below sixteen")]
        let at = lane as u16 * step;
        table[2 * lane] = first + at;
        table[2 * lane + 1] = second + at;
        lane += 1;
    }
    table
}

/// Lanes of the lower half and of the upper one in turns.
const SIDE_BY_SIDE: Table = table(0, 16, 1);
/// Lanes of the lower halves of two vectors in turns, and of the upper ones.
const LOWER_HALVES: Table = table(0, 32, 1);
const UPPER_HALVES: Table = table(16, 48, 1);
/// The even lanes of two vectors, and the odd ones.
const EVEN: Table = table(0, 2, 4);
const ODD: Table = table(1, 3, 4);

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
#[inline]
fn load_table(table: &Table) -> __m512i {
    // SAFETY: sixty-four bytes are there.
    unsafe { _mm512_loadu_si512(table.as_ptr().cast()) }
}

/// Two rows side by side, lane by lane.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
#[inline]
pub(super) fn pair(rows: [&[bf16; 2 * LANES]; 2], to: [&mut [bf16; 2 * LANES]; 2]) {
    let rows = rows.map(|row| load_bits(row));
    for (to, table) in to.into_iter().zip([&LOWER_HALVES, &UPPER_HALVES]) {
        store_bits(_mm512_permutex2var_epi16(rows[0], load_table(table), rows[1]), to);
    }
}

/// The reverse, for sixty-four elements of two rows side by side.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
#[inline]
pub(super) fn part(paired: [&[bf16; 2 * LANES]; 2], to: [&mut [bf16; 2 * LANES]; 2]) {
    let paired = paired.map(|elements| load_bits(elements));
    for (to, table) in to.into_iter().zip([&EVEN, &ODD]) {
        store_bits(_mm512_permutex2var_epi16(paired[0], load_table(table), paired[1]), to);
    }
}

/// Element `at` of sixteen rows of pairs of bf16 in turns, `stride` pairs apart.
///
/// # Panics
///
/// If one of them is beyond the end.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
#[inline]
#[expect(clippy::cast_ptr_alignment, reason = "the instruction asks for none")]
pub(super) fn gather_pairs(from: &[bf16], at: usize, stride: usize, to: &mut [bf16; 2 * LANES]) {
    assert!(2 * (at + (LANES - 1) * stride) + 1 < from.len(), "sixteen rows are there");
    // SAFETY: the last element is there, as was checked, and the ones before it lie before it.
    store_bits(
        unsafe { _mm512_i32gather_epi32::<4>(every(stride), from.as_ptr().cast::<i32>().add(at)) },
        to,
    );
}

/// Element `at` of sixteen rows, `stride` elements apart.
///
/// # Panics
///
/// If one of them is beyond the end.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
#[inline]
pub(super) fn gather(from: &[f32], at: usize, stride: usize) -> __m512 {
    assert!(at + (LANES - 1) * stride < from.len(), "sixteen rows are there");
    // SAFETY: as above.
    unsafe { _mm512_i32gather_ps::<4>(every(stride), from.as_ptr().add(at)) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
#[inline]
fn every(stride: usize) -> __m512i {
    let lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    _mm512_mullo_epi32(lanes, _mm512_set1_epi32(i32::try_from(stride).expect("a tile is small")))
}

/// `2^x`: Taylor's polynomial of degree 6 for the fraction, from -1/2 to 1/2, whose remainder is
/// below 1.3e-7. Zero where that is no normal number: making others takes some CPUs a hundred times as long, and masks are full
/// of them.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
#[inline]
pub(super) fn exp2(x: __m512) -> __m512 {
    const LEAST: f32 = -126.0;
    const TERMS: [f32; 6] =
        [1.333_355_8e-3, 9.618_129e-3, 5.550_411e-2, 0.240_226_5, std::f32::consts::LN_2, 1.0];
    let least = _mm512_set1_ps(LEAST);
    let normal = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(x, least);
    // In this order NaN stays NaN; an infinity would have no fraction.
    let x = _mm512_max_ps(least, x);
    let whole = _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x);
    let fraction = _mm512_sub_ps(x, whole);
    let mut power = _mm512_set1_ps(1.540_353e-4);
    for term in TERMS {
        power = _mm512_fmadd_ps(power, fraction, _mm512_set1_ps(term));
    }
    _mm512_maskz_scalef_ps(normal, power, whole)
}
