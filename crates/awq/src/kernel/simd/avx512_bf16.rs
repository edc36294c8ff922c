//! Pairs of bf16 terms with AVX-512 BF16: twice the products of f32, with weights rounded once more, to bf16.
#![allow(unsafe_code, reason = "intrinsics; a value of `Bf16Pairs` proves that the CPU has them")]

#[allow(clippy::wildcard_imports, reason = "fifty intrinsics, all from one place")]
use std::arch::x86_64::*;

use half::bf16;

use super::arithmetic::{Arithmetic, Job, PackLeft};
use super::avx512::Avx512;
use super::{Aligned, Amx, Simd, Table};
use crate::kernel::packed::WORD_COLUMNS;
use crate::kernel::rounding::round_bf16;

/// Proof that the CPU has the set; made by [`Bf16Pairs::detect`] alone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bf16Pairs(Avx512);

impl Bf16Pairs {
    /// The proof, if the CPU has the set.
    pub(crate) fn detect(simd: Avx512) -> Option<Self> {
        is_x86_feature_detected!("avx512bf16").then_some(Self(simd))
    }
}

impl Bf16Pairs {
    /// The elements of both halves of a vector of bf16 in turns: pairs.
    #[inline(always)]
    #[expect(clippy::unused_self, reason = "the proof")]
    pub(super) fn interleaved(self, halves: __m512i) -> __m512 {
        const INTERLEAVED: [u16; 32] = {
            let mut order = [0; 32];
            let mut lane = 0;
            while lane < 16 {
                order[2 * lane as usize] = lane;
                order[2 * lane as usize + 1] = lane + 16;
                lane += 1;
            }
            order
        };
        // SAFETY: `self` proves that the CPU has the instructions; the order is of sixty-four bytes.
        unsafe {
            let order = _mm512_loadu_si512(INTERLEAVED.as_ptr().cast());
            _mm512_castsi512_ps(_mm512_permutexvar_epi16(order, halves))
        }
    }
}

impl Arithmetic for Bf16Pairs {
    type S = Avx512;
    const TERMS: usize = 2;

    #[inline(always)]
    fn simd(self) -> Avx512 {
        self.0
    }

    #[inline(always)]
    fn amx(self) -> Option<Amx> {
        self.0.amx()
    }

    #[inline(always)]
    fn vectorize(self, job: impl Job) {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma,f16c")]
        fn inner(pairs: Bf16Pairs, job: impl Job) {
            job.run(pairs);
        }
        // SAFETY: `self` proves that the CPU has these features.
        unsafe { inner(self, job) }
    }

    #[inline(always)]
    fn place(self, weights: __m512, term: usize, to: &mut [f32]) {
        // SAFETY: `self` proves that the CPU has the instructions; they touch no memory.
        let low = unsafe {
            _mm512_cvtepu16_epi32(std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(weights)))
        };
        let word = if term == 0 {
            low
        } else {
            let first = self.0.load(to);
            // SAFETY: as above.
            unsafe { _mm512_or_si512(_mm512_castps_si512(first), _mm512_slli_epi32::<16>(low)) }
        };
        // SAFETY: as above.
        self.0.store(unsafe { _mm512_castsi512_ps(word) }, to);
    }

    #[inline(always)]
    fn place_pair(self, first: __m512, second: __m512, to: &mut [f32]) {
        // SAFETY: `self` proves that the CPU has the instruction; it touches no memory. Vectors of bf16 are bits.
        let halves = unsafe { std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(second, first)) };
        self.0.store(self.interleaved(halves), to);
    }

    // Two columns share a table of thirty-two bf16: the halves of a word hold a nibble of each.
    #[inline(always)]
    fn join(self, tables: &mut [Table; WORD_COLUMNS]) {
        for nibble in 0..WORD_COLUMNS / 2 {
            let (even, odd) =
                (self.0.load(&tables[nibble].0), self.0.load(&tables[WORD_COLUMNS / 2 + nibble].0));
            // SAFETY: `self` proves that the CPU has the instruction; it touches no memory.
            let both = unsafe { std::mem::transmute::<__m512bh, __m512>(_mm512_cvtne2ps_pbh(odd, even)) };
            self.0.store(both, &mut tables[nibble].0);
        }
    }

    #[inline(always)]
    fn look_up<const N: usize>(
        self,
        tables: &[Table; WORD_COLUMNS],
        words: __m512i,
        to: &mut [Aligned<N>],
        at: usize,
    ) {
        const NIBBLES: i32 = 0x000f_000f;
        // The odd column's values are the latter sixteen.
        const ODD: i32 = 0x0010_0000;
        // (a & b) | c
        const AND_OR: i32 = 0b1110_1010;
        let mut words = words;
        for (table, to) in tables.iter().zip(&mut to[..WORD_COLUMNS / 2]) {
            let table = self.0.load(&table.0);
            // SAFETY: `self` proves that the CPU has the instructions; they touch no memory.
            let pairs = unsafe {
                let index = _mm512_ternarylogic_epi32::<AND_OR>(
                    words,
                    _mm512_set1_epi32(NIBBLES),
                    _mm512_set1_epi32(ODD),
                );
                _mm512_castsi512_ps(_mm512_permutexvar_epi16(index, _mm512_castps_si512(table)))
            };
            self.0.store(pairs, &mut to.0[at..]);
            words = self.0.next(words);
        }
    }

    #[inline(always)]
    fn place_one(self, weight: f32, term: usize, to: &mut f32) {
        let high = round_bf16(weight).to_bits();
        *to = f32::from_bits(if term == 0 { high >> 16 } else { to.to_bits() | high });
    }

    #[inline(always)]
    fn step(self, left: f32, right: __m512, total: __m512) -> __m512 {
        let left = self.0.splat(left);
        // SAFETY: `self` proves that the CPU has the instruction; it touches no memory. Vectors of bf16 are bits.
        unsafe {
            let [left, right] = [left, right].map(|x| std::mem::transmute::<__m512, __m512bh>(x));
            _mm512_dpbf16_ps(total, left, right)
        }
    }
}

impl PackLeft<bf16> for Bf16Pairs {
    #[inline(always)]
    fn pack_left(self, from: &[bf16], to: &mut [f32]) {
        let (pairs, rest) = from.as_chunks::<2>();
        for (to, [first, second]) in to.iter_mut().zip(pairs) {
            *to = f32::from_bits(u32::from(first.to_bits()) | u32::from(second.to_bits()) << 16);
        }
        if let ([last], Some(to)) = (rest, to.get_mut(pairs.len())) {
            *to = f32::from_bits(u32::from(last.to_bits()));
        }
    }
}
