//! The most memory that a product holds beyond its operands and results.
//!
//! Each measurement is a process of its own, whose allocator gives every block back at once and whose kernels have kept
//! nothing yet: what becomes resident during a product is then what the product needs.

use crate::contenders::{Input, activations, layer};
use crate::shape::Shape;
use qtuner_core::Layer;
use std::error::Error;
use std::fs;
use std::process::Command;
use tch::{Kind, Tensor};

const ROWS: [i64; 3] = [1, 512, 4096];

/// Prints the peak over what stays, where the system tells it.
pub(crate) fn print(shape: Shape) -> Result<(), Box<dyn Error>> {
    if reset_peak().is_err() {
        println!("This system does not tell the peak of memory.");
        return Ok(());
    }
    println!("## MB beyond weights, input and results, {shape}\n");
    println!("| rows | forward, bf16 | backward | forward, f32 | backward |");
    println!("|---:|---:|---:|---:|---:|");
    for rows in ROWS {
        let mut cells = vec![rows.to_string()];
        for kind in ["bf16", "f32"] {
            let mut child = Command::new(std::env::current_exe()?);
            child.env("MALLOC_MMAP_THRESHOLD_", "65536");
            child.args(["--shape", &format!("{}x{}", shape.input, shape.output)]);
            child.args(["--group", &shape.group.to_string(), "--kind", kind, "--memory", &rows.to_string()]);
            let output = child.output()?;
            if !output.status.success() {
                return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
            }
            let figures = String::from_utf8(output.stdout)?;
            cells.extend(figures.split_whitespace().map(str::to_owned));
        }
        println!("| {} |", cells.join(" | "));
    }
    println!();
    Ok(())
}

/// What the process of one measurement does: prints the megabytes of the forward and the backward pass.
pub(crate) fn print_one(shape: Shape, rows: i64, input: Input) -> Result<(), Box<dyn Error>> {
    let kind = input.kind();
    let layer = layer(shape)?;
    let x = activations(rows, shape.input, kind);
    warm_up(kind);
    let (y, forward) = beyond(|| layer.forward(&x).expect("the input fits"))?;
    let (_, backward) = beyond(|| layer.grad_input(&y).expect("the gradient fits"))?;
    println!("{:.1} {:.1}", forward.max(0.0), backward.max(0.0));
    Ok(())
}

/// Lets libtorch start its threads.
fn warm_up(kind: Kind) {
    let x = activations(64, 256, kind);
    drop(x.matmul(&x.transpose(0, 1)));
}

/// What `run` returns, and the most megabytes that were resident meanwhile beyond it.
fn beyond(run: impl Fn() -> Tensor) -> Result<(Tensor, f64), Box<dyn Error>> {
    reset_peak()?;
    let before = status("VmRSS:")?;
    let result = run();
    let peak = status("VmHWM:")?;
    let beyond = peak - before - mega(&result);
    Ok((result, beyond))
}

#[allow(clippy::cast_precision_loss, reason = "a tensor's bytes are far below 2^53")]
fn mega(tensor: &Tensor) -> f64 {
    (tensor.numel() * tensor.kind().elt_size_in_bytes()) as f64 / 1e6
}

fn reset_peak() -> std::io::Result<()> {
    fs::write("/proc/self/clear_refs", "5")
}

/// A line of the process's status, in megabytes.
fn status(name: &str) -> Result<f64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)).ok_or("no such line")?;
    let kibibytes: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kibibytes * 1024.0 / 1e6)
}
