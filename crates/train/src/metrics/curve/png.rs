//! The picture as PNG, drawn pixel by pixel.
//!
//! A pixel takes a line's colour as far as the line covers it, which is told by the distance from the pixel's middle to the
//! line. Texts are glyphs of 5 by 7 dots, two pixels a dot.

use super::{Anchor, Color, HEIGHT, Shape, WIDTH, glyphs};
use std::io;

/// Pixels of a glyph's dot.
const DOT: usize = 2;
/// Pixels from one letter to the next.
const ADVANCE: usize = 6 * DOT;

/// The file's bytes.
pub(super) fn render(shapes: &[Shape]) -> io::Result<Vec<u8>> {
    let mut canvas = vec![[255u8; 3]; WIDTH * HEIGHT];
    for shape in shapes {
        match shape {
            Shape::Line { points, color, width } => line(&mut canvas, points, *color, *width),
            Shape::Text { place, text, anchor, color } => write(&mut canvas, *place, text, *anchor, *color),
        }
    }
    let mut bytes = Vec::new();
    let size = |pixels: usize| u32::try_from(pixels).unwrap_or(u32::MAX);
    let mut encoder = png::Encoder::new(&mut bytes, size(WIDTH), size(HEIGHT));
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Balanced);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(canvas.as_flattened())?;
    writer.finish()?;
    Ok(bytes)
}

/// A line through `points` with round ends; a single point is a dot.
fn line(canvas: &mut [[u8; 3]], points: &[(f64, f64)], color: Color, width: f64) {
    let reach = width / 2.0 + 1.0;
    let stretch = |values: &dyn Fn(&(f64, f64)) -> f64, size: usize| {
        let low = points.iter().map(values).fold(f64::INFINITY, f64::min);
        let high = points.iter().map(values).fold(f64::NEG_INFINITY, f64::max);
        pixels(low - reach, high + reach, size)
    };
    let (columns, rows) = (stretch(&|point| point.0, WIDTH), stretch(&|point| point.1, HEIGHT));
    // Coverage first, then colour: where two pieces of one line meet, the line is not twice there.
    let mut coverage = vec![0.0f64; columns.len() * rows.len()];
    let pieces = points.windows(2).map(|pair| (pair[0], pair[1]));
    let dot = points.first().filter(|_| points.len() == 1).map(|point| (*point, *point));
    for (from, to) in pieces.chain(dot) {
        for y in pixels(from.1.min(to.1) - reach, from.1.max(to.1) + reach, HEIGHT) {
            for x in pixels(from.0.min(to.0) - reach, from.0.max(to.0) + reach, WIDTH) {
                let covered = (width / 2.0 + 0.5 - distance(middle(x, y), from, to)).clamp(0.0, 1.0);
                let place = &mut coverage[(y - rows.start) * columns.len() + (x - columns.start)];
                *place = place.max(covered);
            }
        }
    }
    for (index, covered) in coverage.into_iter().enumerate().filter(|(_, covered)| *covered > 0.0) {
        let (x, y) = (columns.start + index % columns.len(), rows.start + index / columns.len());
        canvas[y * WIDTH + x] = mixed(canvas[y * WIDTH + x], color, covered);
    }
}

/// `below` with `covered` of it under `color`.
fn mixed(below: Color, color: Color, covered: f64) -> Color {
    std::array::from_fn(|channel| {
        let value = f64::from(below[channel]) * (1.0 - covered) + f64::from(color[channel]) * covered;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between two bytes")]
        {
            value.round() as u8
        }
    })
}

/// The pixels that a stretch touches.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "clamped"
)]
fn pixels(from: f64, to: f64, size: usize) -> std::ops::Range<usize> {
    let clamp = |value: f64| value.clamp(0.0, size as f64) as usize;
    clamp(from.floor())..clamp(to.ceil())
}

#[allow(clippy::cast_precision_loss, reason = "a picture's size")]
fn middle(x: usize, y: usize) -> (f64, f64) {
    (x as f64 + 0.5, y as f64 + 0.5)
}

/// From a point to the nearest of a piece of a line.
fn distance(point: (f64, f64), from: (f64, f64), to: (f64, f64)) -> f64 {
    let (dx, dy) = (to.0 - from.0, to.1 - from.1);
    let (px, py) = (point.0 - from.0, point.1 - from.1);
    let square = dx * dx + dy * dy;
    let part = if square > 0.0 { ((px * dx + py * dy) / square).clamp(0.0, 1.0) } else { 0.0 };
    (px - part * dx).hypot(py - part * dy)
}

fn write(canvas: &mut [[u8; 3]], place: (f64, f64), text: &str, anchor: Anchor, color: Color) {
    let width = text.chars().count() * ADVANCE;
    let left = match anchor {
        Anchor::Start => 0,
        Anchor::Middle => width / 2,
        Anchor::End => width,
    };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in the picture")]
    let (x, y) = (place.0.max(0.0) as usize, place.1.max(0.0) as usize);
    let (x, y) = (x.saturating_sub(left), y.saturating_sub(7 * DOT / 2));
    for (index, letter) in text.chars().enumerate() {
        for (row, dots) in glyphs::glyph(letter).into_iter().enumerate() {
            for column in (0..5).filter(|column| dots >> (4 - column) & 1 == 1) {
                for pixel in 0..DOT * DOT {
                    let x = x + index * ADVANCE + column * DOT + pixel % DOT;
                    let y = y + row * DOT + pixel / DOT;
                    if x < WIDTH && y < HEIGHT {
                        canvas[y * WIDTH + x] = color;
                    }
                }
            }
        }
    }
}
