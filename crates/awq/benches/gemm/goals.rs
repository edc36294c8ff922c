//! The ratios that are wanted, and whether they were met.

use crate::contenders::Input;
use crate::reasons::{Ratio, reason};
use crate::shape::Shape;
use crate::table::Row;

/// One ratio and the least that it should be.
struct Goal {
    what: Ratio,
    least: f64,
    found: f64,
}

/// Prints every goal of every row, then why some are missed, and what was tried.
pub(crate) fn print(shape: Shape, measured: &[Row]) {
    println!("| rows | ratio | goal | bf16 | f16 | f32 |");
    println!("|---:|---|---:|---:|---:|---:|");
    let one = measured.iter().find(|row| row.rows == 1);
    let mut missed: Vec<(Ratio, Vec<&str>, &str)> = Vec::new();
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
            for goal in goals.iter().filter(|goal| goal.found < goal.least) {
                let why = reason(goal.what, input, row.rows, shape);
                match missed.iter_mut().find(|(what, _, before)| *what == goal.what && *before == why) {
                    Some((_, inputs, _)) if inputs.contains(&input.name()) => {}
                    Some((_, inputs, _)) => inputs.push(input.name()),
                    None => missed.push((goal.what, vec![input.name()], why)),
                }
            }
        }
    }
    println!();
    if missed.is_empty() {
        return println!("Every goal is met.\n");
    }
    println!("| missed | input | why, and what was tried (docs/kernels.md tells all of it) |\n|---|---|---|");
    for (what, inputs, why) in missed {
        println!("| {what} | {} | {why} |", inputs.join(", "));
    }
    println!();
}

fn cell(goals: &[Goal], what: Ratio) -> String {
    goals.iter().find(|goal| goal.what == what).map_or_else(String::new, |goal| {
        if goal.found >= goal.least { format!("{:.2}", goal.found) } else { format!("**{:.2}**", goal.found) }
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
