//! The ratios that are wanted, and whether they were met.

use crate::contenders::Input;
use crate::shape::Shape;
use crate::table::Row;
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
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
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

/// One ratio and the least that it should be.
struct Goal {
    what: Ratio,
    least: f64,
    found: f64,
}

/// A goal that was missed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Missed {
    pub(crate) what: Ratio,
    pub(crate) input: Input,
    pub(crate) rows: i64,
}

/// Prints every goal of every row; returns those that were missed.
pub(crate) fn print(shape: Shape, measured: &[Row]) -> Vec<Missed> {
    println!("| rows | ratio | goal | bf16 | f16 | f32 |");
    println!("|---:|---|---:|---:|---:|---:|");
    let one = measured.iter().find(|row| row.rows == 1);
    let mut missed = Vec::new();
    for row in measured {
        let columns = Input::ALL.map(|input| goals(shape, row, one, input));
        let names: Vec<(Ratio, f64)> = columns.iter().flatten().map(|goal| (goal.what, goal.least)).collect();
        for (index, (what, least)) in names.iter().enumerate() {
            if names[..index].iter().any(|(before, _)| before == what) {
                continue;
            }
            let cells = columns.each_ref().map(|goals| cell(goals, *what));
            println!("| {} | {what} | {least:.2} | {} |", row.rows, cells.join(" | "));
        }
        for (input, goals) in Input::ALL.into_iter().zip(&columns) {
            let here = goals.iter().filter(|goal| !goal.is_met());
            missed.extend(here.map(|goal| Missed { what: goal.what, input, rows: row.rows }));
        }
    }
    println!();
    missed
}

impl Goal {
    fn is_met(&self) -> bool {
        self.found >= self.least
    }
}

fn cell(goals: &[Goal], what: Ratio) -> String {
    goals.iter().find(|goal| goal.what == what).map_or_else(String::new, |goal| {
        if goal.is_met() { format!("{:.2}", goal.found) } else { format!("**{:.2}**", goal.found) }
    })
}

/// The goals of one dtype at one number of rows.
fn goals(shape: Shape, row: &Row, one: Option<&Row>, input: Input) -> Vec<Goal> {
    let ours = row.ours[input as usize];
    let peer = row.int4.map_or(row.dense_bf16, |int4| int4.min(row.dense_bf16));
    let mut goals = Vec::new();
    let mut add = |what, least, found| goals.push(Goal { what, least, found });
    let half = input != Input::F32;
    // An instruction set with vectors of f32 alone has limits of its own.
    if std::env::var("QTUNER_ISA").is_ok_and(|isa| isa == "avx2") {
        add(Ratio::Avx2, 0.7, row.limits.least_f32(shape, row.rows) / ours.forward);
        return goals;
    }
    if row.rows == 1 {
        add(Ratio::Memory, 0.9, row.limits.reading(shape) / ours.forward);
        if let Some(int4) = row.int4 {
            add(Ratio::Int4, 1.35, int4 / ours.forward);
        }
    }
    if let (4, true, Some(one)) = (row.rows, half, one) {
        add(Ratio::FourRows, 1.0, 1.25 * one.ours[input as usize].forward / ours.forward);
    }
    let wanted = match row.rows {
        2..=8 => Some(1.5),
        16 => Some(1.4),
        32 => Some(1.2),
        64 => Some(1.0),
        _ => None,
    };
    if let (Some(wanted), true) = (wanted, half) {
        add(Ratio::Peer, wanted, peer / ours.forward);
    }
    if row.rows >= 128 {
        let dense = if half { row.dense_bf16 } else { row.dense_f32 };
        add(Ratio::Dense, 0.95, dense / ours.forward);
    }
    if row.rows >= 64 {
        add(Ratio::Backward, 0.9, ours.forward / ours.backward);
    }
    goals
}
