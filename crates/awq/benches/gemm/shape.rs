//! The layers that are measured.

use std::fmt;

/// Input and output features of the layers of a goal; the first one is measured most closely.
pub(crate) const SHAPES: [(i64, i64); 8] = [
    (4096, 4096),
    (4096, 11008),
    (11008, 4096),
    (896, 4864),
    (4864, 896),
    (896, 128),
    (2048, 2048),
    (2048, 8192),
];

/// The other group sizes; 0 is one group.
pub(crate) const GROUPS: [i64; 3] = [32, 64, 0];

/// One layer's sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) input: i64,
    pub(crate) output: i64,
    pub(crate) group: i64,
}

impl Shape {
    /// A layer whose group of 0 is all of its input.
    pub(crate) fn new(input: i64, output: i64, group: i64) -> Self {
        Self { input, output, group: if group == 0 { input } else { group } }
    }

    /// Bytes of the packed weight: codes, zero points, f16 scales.
    pub(crate) fn packed_bytes(self) -> f64 {
        let groups = self.input / self.group;
        float(self.input * self.output / 2 + groups * self.output / 2 + groups * self.output * 2)
    }

    /// Multiplications and additions of a product with so many rows.
    pub(crate) fn operations(self, rows: i64) -> f64 {
        2.0 * float(rows) * float(self.input) * float(self.output)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}, group {}", self.input, self.output, self.group)
    }
}

/// `INxOUT`.
pub(crate) fn parse_sizes(text: &str) -> Result<(i64, i64), String> {
    let sizes = text.split_once('x').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    sizes.ok_or_else(|| "expected input and output features, like 4096x4096".to_owned())
}

#[allow(clippy::cast_precision_loss, reason = "sizes are far below 2^53")]
pub(crate) fn float(number: i64) -> f64 {
    number as f64
}
