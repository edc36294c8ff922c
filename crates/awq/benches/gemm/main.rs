//! `WQLinear_GEMM` beside what else libtorch offers for the same product, measured side by side in one run.
//!
//! `cargo xtask bench` prints everything in Markdown: limits, times, ratios with their goals and why some are missed, the
//! adapter's own cost, and memory. `--shape 4096x4096 --group 128` measures one layer, `--plot` draws its roofline,
//! `--count 1 --kind bf16` does nothing but run the kernel, for `perf stat` and callgrind.
//!
//! Contenders take turns, so that a change of the machine's clock meets all of them, and each goes through copies of its
//! weight that are larger than the caches together, as the layers of a model are. Figures are medians.

mod adapter;
mod contenders;
mod cycle;
mod goals;
mod limits;
mod memory;
mod reasons;
mod roofline;
mod shape;
mod table;
mod timing;

use clap::Parser;
use contenders::{Contenders, Input};
use limits::Limits;
use shape::{GROUPS, SHAPES, Shape};
use std::error::Error;
use std::path::Path;
use table::Row;

/// The rows of the layer that is measured most closely.
const ALL_ROWS: [i64; 11] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];
/// The rows of every other layer: one of each goal.
const SOME_ROWS: [i64; 6] = [1, 4, 16, 32, 64, 512];

/// Which measurements.
#[derive(Debug, Parser)]
struct Arguments {
    /// One layer alone: IN x OUT
    #[arg(long, value_name = "INxOUT", value_parser = shape::parse_sizes)]
    shape: Option<(i64, i64)>,
    /// Its group size; 0 for one group
    #[arg(long, default_value_t = 128)]
    group: i64,
    /// Rows of the activations, with commas between
    #[arg(long, value_delimiter = ',')]
    rows: Option<Vec<i64>>,
    /// Draws the roofline of the first layer into docs/images/roofline.svg
    #[arg(long)]
    plot: bool,
    /// Nothing but this many rows through the kernel, forward, 200 times
    #[arg(long, value_name = "ROWS")]
    count: Option<i64>,
    /// Nothing but the memory of a product of this many rows
    #[arg(long, value_name = "ROWS", hide = true)]
    memory: Option<i64>,
    /// Under an adapter of this rank
    #[arg(long, value_name = "R", requires = "count")]
    rank: Option<i64>,
    /// The activations of --count
    #[arg(long, value_enum, default_value_t = Input::Bf16)]
    kind: Input,
    /// What cargo adds
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    tch::manual_seed(1);
    let (input, output) = arguments.shape.unwrap_or(SHAPES[0]);
    let first = Shape::new(input, output, arguments.group);
    if let Some(rows) = arguments.count {
        return match arguments.rank {
            None => Ok(contenders::count(first, rows, arguments.kind)?),
            Some(rank) => adapter::count(first, rows, arguments.kind, rank),
        };
    }
    if let Some(rows) = arguments.memory {
        return memory::print_one(first, rows, arguments.kind);
    }
    let limits = Limits::measure();
    println!("{limits}\n");
    let rows = arguments.rows.clone().unwrap_or_else(|| ALL_ROWS.to_vec());
    let measured = measure(first, &limits, &rows)?;
    if arguments.plot {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/images/roofline.svg");
        std::fs::write(&path, roofline::draw(first, &limits, &measured))?;
        println!("The picture is in {}.\n", path.display());
    }
    if arguments.shape.is_none() {
        let rows = arguments.rows.unwrap_or_else(|| SOME_ROWS.to_vec());
        for (input, output) in &SHAPES[1..] {
            measure(Shape::new(*input, *output, 128), &limits, &rows)?;
        }
        for group in GROUPS {
            measure(Shape::new(input, output, group), &limits, &rows)?;
        }
    }
    adapter::print(first)?;
    memory::print(first)?;
    Ok(())
}

/// Measures and prints one layer.
fn measure(shape: Shape, limits: &Limits, rows: &[i64]) -> Result<Vec<Row>, Box<dyn Error>> {
    let contenders = Contenders::new(shape)?;
    println!("## {shape}\n");
    let mut measured = Vec::new();
    for rows in rows {
        measured.push(contenders.row(*rows, limits));
    }
    table::print(shape, &measured);
    let missed = goals::print(shape, &measured);
    reasons::print(shape, &missed);
    Ok(measured)
}
