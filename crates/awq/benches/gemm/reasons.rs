//! Why goals are missed, and what was tried, as `docs/performance.md` and `docs/kernels.md` tell with figures.
//!
//! These are findings, not measurements of the run: they were made on a CPU with AVX-512 BF16 and without AMX, and the
//! bench says so.

use crate::contenders::Input;
use crate::goals::{Missed, Ratio};
use crate::shape::Shape;

/// Weights of a layer which one task multiplies: 128 KiB of codes.
const ONE_TASK: i64 = 1 << 18;

/// Prints each reason once, with the dtypes and rows that it is for.
pub(crate) fn print(shape: Shape, missed: &[Missed]) {
    if missed.is_empty() {
        return println!("Every goal is met.\n");
    }
    println!(
        "Why, as found on a CPU with AVX-512 BF16, without AMX (others: docs/performance.md), and what was tried"
    );
    println!("(all of it: docs/kernels.md):\n\n| missed | input, rows | why; tried |\n|---|---|---|");
    let mut rest = missed.to_vec();
    while let Some(first) = rest.first().copied() {
        let why = reason(shape, first);
        let (same, other): (Vec<Missed>, _) =
            rest.into_iter().partition(|miss| miss.what == first.what && reason(shape, *miss) == why);
        let places = same.iter().map(|miss| format!("{} {}", miss.input.name(), miss.rows));
        println!("| {} | {} | {why} |", first.what, places.collect::<Vec<_>>().join(", "));
        rest = other;
    }
    println!();
}

fn reason(shape: Shape, Missed { what, input, rows }: Missed) -> &'static str {
    let is_bf16 = input == Input::Bf16;
    match what {
        Ratio::Memory | Ratio::Int4 | Ratio::FourRows | Ratio::Peer | Ratio::Avx2
            if rows <= 32 && shape.input * shape.output <= ONE_TASK =>
        {
            "so small a layer takes about as long as calling libtorch does; one thread multiplies it, without tasks"
        }
        Ratio::Memory if is_bf16 => {
            "some 14 cycles of arithmetic for 256 weights and their reading hide each other only in part, least where \
             memory is fast; tried: a third fewer instructions (slower from memory), other runs, prefetches, huge pages"
        }
        Ratio::Memory => {
            "some 19 cycles of look-ups and products for 256 weights (30 with groups below 64 rows, which do not repay \
             tables) and their reading hide each other only in part, least where memory is fast; tried: codes row by \
             row, turned on the way, fetched at other distances"
        }
        Ratio::Int4 if is_bf16 => {
            "beyond memory's limit where ATen's kernel reads at more than 74 % of its speed; else as for that limit"
        }
        Ratio::Int4 => {
            "ATen's figure is of bf16; beyond memory's limit where that reads at more than 74 % of its speed; else as \
             for that limit"
        }
        Ratio::FourRows if is_bf16 => {
            "one row gains more than four where memory is fast; tried: other runs and parts"
        }
        Ratio::FourRows => {
            "four rows are bound by their products and look-ups, 64 and 30 instructions on three pipes for 256 weights, \
             one row by memory; tried: codes row by row (slower)"
        }
        Ratio::Peer if is_bf16 && rows <= 2 => {
            "asks for some 90 % of the speed of reading; tried: as for one row"
        }
        Ratio::Peer if is_bf16 && rows <= 4 => {
            "reading and unpacking hide each other only in part; tried: other runs, parts and chunks"
        }
        Ratio::Peer if is_bf16 => {
            "bound by bf16 products; tried: other chunks, the kernel for few rows up to 64 rows"
        }
        Ratio::Peer => {
            "contenders multiply bf16; exact f16 asks for f32 products, at half of that speed where a CPU has no f16 \
             ones; tried: two bf16 terms for f16 (twice the products), codes by column to 16 rows, panels beyond (used)"
        }
        Ratio::Dense if input == Input::F16 => {
            "the contender multiplies bf16; exact f16 asks for f32 products, at half of that speed where a CPU has no \
             f16 ones; tried: two bf16 terms for f16 (twice the products; used with AMX)"
        }
        Ratio::Dense => {
            "products take nine tenths, unpacking one; tried: blocks of 512 rows, panels of 128 steps"
        }
        Ratio::Backward => {
            "the gradient looks weights up in tables and waits more for memory; tried: fetching the next block, two \
             columns to a table in bf16 (both used)"
        }
        Ratio::Avx2 if is_bf16 => {
            "29 cycles of integers for 256 weights (33 without AVX-VNNI) and their reading hide each other only in \
             part; tried: f32 (half as long again), digits of eight bits"
        }
        Ratio::Avx2 => {
            "256 weights are 32 vectors of six instructions with their rounding, where memory allows two or three; \
             tried: two weight rows at once, nibbles in place at three and four rows, look-ups in codes by column, of f32 and \
             of bytes"
        }
    }
}
