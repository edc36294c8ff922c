//! The times of one layer as a table.

use crate::limits::Limits;
use crate::shape::Shape;

/// Milliseconds of our layer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ours {
    pub(crate) forward: f64,
    pub(crate) backward: f64,
}

/// Milliseconds of everybody at one number of rows.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) rows: i64,
    /// As they were meanwhile.
    pub(crate) limits: Limits,
    pub(crate) int4: Option<f64>,
    pub(crate) dense_bf16: f64,
    pub(crate) dense_f32: f64,
    /// With bf16, f16 and f32 activations.
    pub(crate) ours: [Ours; 3],
}

/// Prints the times in milliseconds.
pub(crate) fn print(shape: Shape, measured: &[Row]) {
    println!(
        "| rows | limit | ATen int4 bf16 | dense bf16 | dense f32 | ours bf16 | f16 | f32 | backward bf16 | f16 | f32 |"
    );
    println!("|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    for row in measured {
        let mut cells = vec![row.rows.to_string(), time(row.limits.least(shape, row.rows))];
        cells.push(row.int4.map_or_else(|| "-".to_owned(), time));
        cells.extend([row.dense_bf16, row.dense_f32].map(time));
        cells.extend(row.ours.map(|ours| time(ours.forward)));
        cells.extend(row.ours.map(|ours| time(ours.backward)));
        println!("| {} |", cells.join(" | "));
    }
    println!();
}

/// Milliseconds with three digits.
fn time(milliseconds: f64) -> String {
    let decimals = match milliseconds {
        ..1.0 => 3,
        1.0..10.0 => 2,
        10.0..100.0 => 1,
        _ => 0,
    };
    format!("{milliseconds:.decimals$}")
}
