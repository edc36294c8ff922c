//! Why a goal may be missed, and what was tried; `docs/kernels.md` and `docs/performance.md` have the figures.

use crate::contenders::Input;
use crate::shape::Shape;
use std::fmt;

/// What is wanted of a kernel, as a ratio that should be large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ratio {
    Memory,
    Int4,
    FourRows,
    Peer,
    Dense,
    Backward,
    Avx2,
}

impl fmt::Display for Ratio {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Memory => "memory's limit / ours",
            Self::Int4 => "ATen int4 bf16 / ours",
            Self::FourRows => "1.25 x one row / four rows",
            Self::Peer => "faster of ATen int4 and dense bf16 / ours",
            Self::Dense => "dense (bf16; f32 for f32) / ours",
            Self::Backward => "forward / backward",
            Self::Avx2 => "limit of AVX2 / ours",
        })
    }
}

/// Weights of a layer whose numbers take no longer than calling libtorch does, with few rows.
const SMALL: i64 = 1 << 18;

/// Why this ratio is missed.
pub(crate) fn reason(ratio: Ratio, input: Input, rows: i64, shape: Shape) -> &'static str {
    let is_bf16 = input == Input::Bf16;
    match ratio {
        Ratio::Memory | Ratio::Int4 | Ratio::FourRows | Ratio::Peer if shape.input * shape.output < SMALL => {
            "two microseconds of numbers under two to three of libtorch's call; cutting them into tasks costs more"
        }
        Ratio::Memory if is_bf16 => {
            "14 cycles of arithmetic for 256 weights and their reading hide each other only in part, least where memory \
             is fast; tried: a third fewer instructions (slower from memory), other runs, prefetches, huge pages"
        }
        Ratio::Memory => {
            "AutoAWQ's rounded weights are 48 instructions on two pipes for 256 of them, 24 cycles, longer than fast \
             memory takes; tried: look-ups, conversion to f16 and back, longer runs"
        }
        Ratio::Int4 if is_bf16 => {
            "beyond memory's limit where ATen's kernel reads at more than 74 % of its speed; else as for that limit"
        }
        Ratio::Int4 => {
            "ATen's figure is of bf16, whose weights need no rounding; tried: as for memory's limit"
        }
        Ratio::FourRows if is_bf16 => {
            "one row gains more than four where memory is fast; tried: tiles of other sizes"
        }
        Ratio::FourRows => {
            "the rounding and f32 products of four rows are 96 instructions on two pipes for 256 weights, one row's 48; \
             tried: nibbles in place (slower), tiles of other sizes"
        }
        Ratio::Peer if is_bf16 && rows <= 2 => {
            "asks for some 90 % of the speed of reading; tried: as for one row, where memory's limit is the same"
        }
        Ratio::Peer if is_bf16 => {
            "reading and unpacking hide each other only in part; tried: runs, parts and chunks of other sizes"
        }
        Ratio::Peer => {
            "the contender multiplies bf16; exact f16 asks for f32 products, at half of that speed where a CPU has no \
             f16 ones; tried: splitting f16 into two bf16 (twice the products), panels from nine rows on (used)"
        }
        Ratio::Dense if input == Input::F16 => {
            "the contender multiplies bf16; exact f16 asks for f32 products, at half of that speed; tried: sums of bf16 \
             terms (used with AMX, where they are faster)"
        }
        Ratio::Dense => {
            "unpacking is a tenth of the time, the rest products; tried: blocks of 512 rows, panels of 128 steps"
        }
        Ratio::Backward => {
            "both differ in how weights are unpacked alone; single runs vary by a tenth; tried: fetching the next block, \
             two columns to a table (both used)"
        }
        Ratio::Avx2 if is_bf16 => {
            "256 weights are 32 vectors of four instructions, where memory allows two or three; tried: tiles of other \
             sizes, two weight rows at once"
        }
        Ratio::Avx2 => {
            "256 weights are 32 vectors of six instructions with their rounding, where memory allows two or three; \
             tried: look-ups, nibbles in place at three and four rows"
        }
    }
}
