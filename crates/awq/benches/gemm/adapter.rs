//! What an adapter adds to its layer's time.

use crate::contenders::{COUNTED, Input, activations, copy, layer};
use crate::cycle::Cycle;
use crate::shape::{Shape, float};
use crate::timing::{Contender, medians};
use qtuner_awq::{AwqLoraLinear, WqLinearGemm};
use qtuner_core::{Layer, LoraLayer, LoraOptions};
use std::error::Error;
use std::fmt;
use tch::{Kind, Tensor};

const RANKS: [i64; 3] = [8, 16, 64];
const ROWS: [i64; 2] = [1, 512];
/// What an adapter may add to its layer's time.
const GOAL: f64 = 0.1;

/// Prints the adapter's time over the base's, forward without gradients, and a whole step with them.
pub(crate) fn print(shape: Shape) -> Result<(), Box<dyn Error>> {
    println!("## An f32 adapter over {shape}, bf16 activations: time over the base's\n");
    println!("| rows | base | r = 8 | 16 | 64 | base, forward + backward | r = 8 | 16 | 64 |");
    println!("|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    let base = layer(shape)?;
    let bases = Cycle::new(shape.packed_bytes(), || copy(&base))?;
    let mut tuners = Vec::new();
    for rank in RANKS {
        // Gradients are new memory at each copy's first step alone, so that step is not measured.
        let x = activations(1, shape.input, Kind::BFloat16);
        let first_step = |tuner: &AwqLoraLinear| drop(step(tuner, &x));
        tuners.push(Cycle::new(shape.packed_bytes(), || tuner(&base, rank).inspect(first_step))?);
    }
    let mut missed = Vec::new();
    for rows in ROWS {
        let x = activations(rows, shape.input, Kind::BFloat16);
        let tracked = x.copy().set_requires_grad(true);
        let mut contenders: Vec<Contender<'_>> = Vec::new();
        contenders.push(Box::new(|| forward(bases.next(), &x)));
        for tuners in &tuners {
            contenders.push(Box::new(|| forward(tuners.next(), &x)));
        }
        contenders.push(Box::new(|| step(bases.next(), &tracked)));
        for tuners in &tuners {
            contenders.push(Box::new(|| step(tuners.next(), &tracked)));
        }
        let times = medians(&contenders);
        let (forward, both) = times.split_at(1 + RANKS.len());
        println!("| {rows} | {} | {} |", cells(forward), cells(both));
        missed.extend(misses(rows, Pass::Forward, forward));
        missed.extend(misses(rows, Pass::Both, both));
    }
    // Four bytes an element, and both factors.
    let bytes = RANKS.map(|rank| float(4 * rank * (shape.input + shape.output)) / shape.packed_bytes());
    let [few, more, most] = bytes.map(|share| format!("{:.0} %", share * 100.0));
    println!(
        "\nThe goal is 10 %. An adapter is {few}, {more} and {most} of the layer's bytes, read beside them at one row.\n"
    );
    if !missed.is_empty() {
        println!("| missed | why, as found at 4096 -> 4096 on a CPU with AVX-512 BF16; tried |\n|---|---|");
        for miss in missed {
            println!("{miss}");
        }
        println!();
    }
    Ok(())
}

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pass {
    Forward,
    Both,
}

/// An adapter that costs more than the goal.
struct Missed {
    rows: i64,
    pass: Pass,
    rank: i64,
}

impl fmt::Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pass = if self.pass == Pass::Forward { "forward" } else { "forward + backward" };
        let why = match (self.rows, self.pass, self.rank) {
            (1, _, 64) => {
                "reading the adapter takes longer than the goal allows, at any speed of memory; tried: B and its \
                 gradient as they lie (used)"
            }
            (1, Pass::Forward, _) => {
                "met where memory is slow; two parallel regions cost as much where it is fast, beside a base that takes \
                 less; tried: B as it lies (used)"
            }
            (1, Pass::Both, _) => {
                "two nodes of autograd take some 20 us, their products and two additions to gradients the rest; tried: \
                 one node, both gradients of B in one region, nothing copied (used)"
            }
            (_, _, 64) => {
                "products of f32, at half of the speed of the base's, are 6 % of its time forward and 8.5 % with the \
                 backward pass at the speed of oneDNN's; tried: rows of A fetched ahead, 32 sums at a time, sums rounded \
                 from registers"
            }
            _ => {
                "not in every run, and less than a greater rank; why was not found; tried: mimalloc in place of malloc"
            }
        };
        write!(f, "| rows: {}, {pass}, r = {} | {why} |", self.rows, self.rank)
    }
}

/// The base's time, and what each rank adds to it.
fn cells(times: &[f64]) -> String {
    let added = added(times).map(|share| format!("{:+.0} %", share * 100.0));
    format!("{:.3} ms | {}", times[0], added.join(" | "))
}

fn added(times: &[f64]) -> [f64; RANKS.len()] {
    std::array::from_fn(|rank| times[1 + rank] / times[0] - 1.0)
}

fn misses(rows: i64, pass: Pass, times: &[f64]) -> impl Iterator<Item = Missed> {
    let ranks = RANKS.into_iter().zip(added(times));
    ranks.filter(|(_, share)| *share > GOAL).map(move |(rank, _)| Missed { rows, pass, rank })
}

/// [`contenders::count`](crate::contenders::count) under an adapter.
pub(crate) fn count(shape: Shape, rows: i64, input: Input, rank: i64) -> Result<(), Box<dyn Error>> {
    let base = layer(shape)?;
    let tuners = Cycle::new(shape.packed_bytes(), || tuner(&base, rank))?;
    let x = activations(rows, shape.input, input.kind());
    for _ in 0..COUNTED {
        drop(std::hint::black_box(forward(tuners.next(), &x)));
    }
    Ok(())
}

fn tuner(base: &WqLinearGemm, rank: i64) -> Result<AwqLoraLinear, Box<dyn Error>> {
    let options = LoraOptions::default().with_rank(rank);
    let tuner = AwqLoraLinear::new(Box::new(copy(base)?), "default", options)?;
    // A fresh B is zero.
    let b = tuner.lora_b("default").ok_or("the adapter is there")?;
    let _ = tch::no_grad(|| b.shallow_clone().fill_(0.01));
    Ok(tuner)
}

fn forward(layer: &dyn Layer, x: &Tensor) -> Tensor {
    tch::no_grad(|| layer.forward(x).expect("the input fits"))
}

fn step(layer: &dyn Layer, x: &Tensor) -> Tensor {
    let y = layer.forward(x).expect("the input fits");
    y.sum(y.kind()).backward();
    y
}
