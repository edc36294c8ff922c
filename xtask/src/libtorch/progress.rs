//! The progress line of a download: `torch 2.13.0: 312 of 527 MB`.
//!
//! On a terminal one line, written over; elsewhere (a log) a new line each tenth of the way or ten seconds.
//! Megabytes are 10^6 bytes, as pip counts them.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

/// A log gets a line after this long, however little has come.
const RARELY: Duration = Duration::from_secs(10);

/// Where the line goes, which decides how often it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// Written over in place.
    Terminal,
    /// A line of its own, rarely.
    Log,
}

/// One download's line.
#[derive(Debug)]
pub(crate) struct Progress<W> {
    out: W,
    style: Style,
    label: String,
    /// When the last line was written, and the tenth it told.
    last: Option<(Duration, u64)>,
    text: String,
}

impl<W: Write> Progress<W> {
    /// A line that starts with `label`.
    pub(crate) fn new(out: W, style: Style, label: String) -> Self {
        Self { out, style, label, last: None, text: String::new() }
    }

    /// Tells how many bytes are here, `elapsed` after the start. A line that cannot be written is no error.
    pub(crate) fn update(&mut self, bytes: u64, total: Option<u64>, elapsed: Duration) {
        let tenth = total.map_or(0, |total| bytes * 10 / total.max(1));
        let due = match self.last {
            Some((at, told)) => tenth > told || elapsed >= at + RARELY,
            None => total.is_some() || elapsed >= RARELY,
        };
        if self.style == Style::Terminal || due {
            self.last = Some((elapsed, tenth));
            let bytes = bytes.min(total.unwrap_or(u64::MAX));
            self.write(&match total {
                Some(total) => format!("{} of {} MB", megabytes(bytes), megabytes(total)),
                None => format!("{} MB", megabytes(bytes)),
            });
        }
    }

    /// Tells that all `bytes` are here, and ends the line.
    pub(crate) fn finish(&mut self, bytes: u64, elapsed: Duration) {
        self.write(&format!("{} MB in {:.0} s", megabytes(bytes), elapsed.as_secs_f64()));
        self.end();
    }

    /// Ends the line where it stands, so that an error message starts on its own.
    pub(crate) fn end(&mut self) {
        if self.style == Style::Terminal && !self.text.is_empty() {
            let _ = writeln!(self.out);
        }
    }

    fn write(&mut self, state: &str) {
        let text = format!("{}: {state}", self.label);
        if text == self.text {
            return;
        }
        let _ = match self.style {
            // Padded to the line below it, of which nothing may be left to see.
            Style::Terminal => write!(self.out, "\r{text:width$}", width = self.text.len()),
            Style::Log => writeln!(self.out, "{text}"),
        };
        let _ = self.out.flush();
        self.text = text;
    }
}

/// Bytes as megabytes, rounded.
pub(crate) fn megabytes(bytes: u64) -> u64 {
    (bytes + 500_000) / 1_000_000
}

/// The size in a line of pip's like `Downloading torch-2.13.0-...whl (526.6 MB)`, in bytes.
pub(crate) fn announced_size(line: &str) -> Option<u64> {
    let rest = line.trim().strip_prefix("Downloading ")?;
    let (file, size) = rest.rsplit_once(" (")?;
    // Not of a `.whl.metadata`, which pip fetches first.
    Path::new(file).extension().filter(|extension| *extension == "whl")?;
    let (number, unit) = size.strip_suffix(')')?.split_once(' ')?;
    let (whole, tenths) = number.split_once('.').unwrap_or((number, "0"));
    let tenths =
        whole.parse::<u64>().ok()?.checked_mul(10)? + tenths.parse::<u64>().ok().filter(|n| *n < 10)?;
    let unit = match unit {
        "bytes" => 1,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return None,
    };
    Some(tenths.checked_mul(unit)? / 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_a_wheel_is_read_from_pips_words() {
        let check = |line: &str, expected: Option<u64>| assert_eq!(announced_size(line), expected, "{line}");
        check(
            "  Downloading torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl (526.6 MB)",
            Some(526_600_000),
        );
        check("Downloading toy-1.0-py3-none-any.whl (29 kB)", Some(29_000));
        check("Downloading toy-1.0-py3-none-any.whl (973 bytes)", Some(973));
        check("Downloading https://host/a%20b/toy-1.0-py3-none-any.whl (1.1 GB)", Some(1_100_000_000));
        check("  Downloading torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl.metadata (29 kB)", None);
        check("Collecting torch==2.13.0", None);
        check("Downloading toy.whl (many MB)", None);
        check("Downloading toy.whl (99999999999999999999 MB)", None);
        check("Downloading toy.whl (9999999999999999999 GB)", None);
        check("Downloading toy.whl (", None);
        check("", None);
    }

    fn told(style: Style, updates: &[(u64, u64)]) -> String {
        let mut out = Vec::new();
        let mut progress = Progress::new(&mut out, style, "toy 1.0".to_owned());
        for &(megabytes, seconds) in updates {
            progress.update(megabytes * 1_000_000, Some(500_000_000), Duration::from_secs(seconds));
        }
        progress.finish(500_000_000, Duration::from_secs(31));
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_log_gets_a_line_each_tenth_or_ten_seconds() {
        let updates = [(0, 0), (10, 1), (49, 2), (50, 3), (60, 12), (61, 13), (300, 14)];
        let lines = "toy 1.0: 0 of 500 MB\ntoy 1.0: 50 of 500 MB\ntoy 1.0: 61 of 500 MB\n\
                     toy 1.0: 300 of 500 MB\ntoy 1.0: 500 MB in 31 s\n";
        assert_eq!(told(Style::Log, &updates), lines);
    }

    #[test]
    fn a_terminals_line_is_written_over_in_place() {
        let line = "\rtoy 1.0: 10 of 500 MB\rtoy 1.0: 499 of 500 MB\rtoy 1.0: 500 MB in 31 s\n";
        assert_eq!(told(Style::Terminal, &[(10, 1), (10, 2), (499, 3)]), line);
    }

    #[test]
    fn a_shorter_line_leaves_nothing_of_the_longer_one() {
        let mut out = Vec::new();
        let mut progress = Progress::new(&mut out, Style::Terminal, "toy".to_owned());
        progress.update(900_000_000, Some(1_900_000_000), Duration::ZERO);
        progress.finish(900_000_000, Duration::ZERO);
        assert_eq!(String::from_utf8(out).expect("text"), "\rtoy: 900 of 1900 MB\rtoy: 900 MB in 0 s \n");
    }

    #[test]
    fn without_an_announced_size_the_line_tells_what_is_here() {
        let mut out = Vec::new();
        let mut progress = Progress::new(&mut out, Style::Log, "toy".to_owned());
        progress.update(0, None, Duration::from_secs(1));
        progress.update(7_400_000, None, Duration::from_secs(10));
        assert_eq!(out, b"toy: 7 MB\n");
    }
}
