//! A picture of the loss: every step's in a pale line, its running mean in a strong one, evaluations as dots.
//!
//! The picture is laid out once, as lines and texts, and written as SVG and as PNG. The PNG's letters are drawn from a table of
//! our own, so that no font has to be installed.

mod axis;
mod glyphs;
mod layout;
mod png;
mod svg;

use super::{MetricsError, Record};
use crate::files::write_atomically;
use std::path::Path;

/// Width of the picture in pixels.
pub const WIDTH: usize = 1000;
/// Height of the picture in pixels.
pub const HEIGHT: usize = 600;

/// A colour: red, green, blue.
type Color = [u8; 3];

/// Which point of a text is at its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Anchor {
    /// The left end.
    Start,
    /// The middle.
    Middle,
    /// The right end.
    End,
}

/// One thing to draw. Places are in pixels from the upper left corner; a text's is in the middle of its height.
#[derive(Debug, Clone, PartialEq)]
enum Shape {
    Line { points: Vec<(f64, f64)>, color: Color, width: f64 },
    Text { place: (f64, f64), text: String, anchor: Anchor, color: Color },
}

/// Writes `loss.svg` and `loss.png` into `output`; nothing if there is nothing to draw.
///
/// # Errors
/// [`MetricsError`] when the system refuses.
pub fn write(records: &[Record], output: &Path) -> Result<(), MetricsError> {
    let shapes = layout::layout(records);
    if shapes.is_empty() {
        return Ok(());
    }
    let path = output.join("loss.svg");
    write_atomically(&path, svg::render(&shapes).as_bytes()).map_err(MetricsError::at(&path))?;
    let path = output.join("loss.png");
    let bytes = png::render(&shapes).map_err(MetricsError::at(&path))?;
    write_atomically(&path, &bytes).map_err(MetricsError::at(&path))
}
