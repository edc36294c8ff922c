//! Results on stdout: tables for people, JSON for programs.

use crate::failure::Failure;
use serde::Serialize;
use std::fmt::Display;
use std::io::Write;

/// Who reads the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    /// A person.
    Person,
    /// A program: JSON.
    Program,
}

/// The `--json` flag.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct JsonFlag {
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

impl JsonFlag {
    /// Who reads the result.
    pub(crate) fn reader(self) -> Reader {
        if self.json { Reader::Program } else { Reader::Person }
    }
}

/// A line on stdout.
pub(crate) fn line(text: impl Display) -> Result<(), Failure> {
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

/// A part of a line on stdout, seen at once.
pub(crate) fn part(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout();
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}

/// A line on stderr, for people. Nobody has to be there to read it, so that it cannot be written is no failure.
pub(crate) fn note(text: impl Display) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A value as JSON on stdout.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    line(serde_json::to_string_pretty(value)?)
}

/// Rows of cells in columns as wide as their widest cell; those from `numbers` on are aligned on the right.
pub(crate) fn table(rows: &[Vec<String>], numbers: usize) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| Some(row.get(column)?.chars().count())).max();
    let widths: Vec<usize> = (0..count).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            if column < numbers { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// `4.6 MB`: three digits are enough to compare.
#[allow(clippy::cast_precision_loss, reason = "a size for reading")]
pub(crate) fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut units = ["bytes", "kB", "MB", "GB", "TB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    for next in units {
        if value < 1000.0 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    if unit == "bytes" { format!("{bytes} bytes") } else { format!("{value:.1} {unit}") }
}

/// `1,234,567`.
pub(crate) fn grouped(count: i64) -> String {
    let digits = count.unsigned_abs().to_string();
    let mut text = if count < 0 { "-".to_owned() } else { String::new() };
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_counts_read_well() {
        assert_eq!(
            ["0 bytes", "999 bytes", "1.0 kB", "4.6 MB"],
            [0, 999, 1000, 4_569_944].map(size).each_ref().map(String::as_str)
        );
        assert_eq!(
            ["0", "999", "1,000", "-1,234,567"],
            [0, 999, 1000, -1_234_567].map(grouped).each_ref().map(String::as_str)
        );
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["name", "n"], ["a", "100"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(table(&rows, 1), "name    n\na     100\n");
    }
}
