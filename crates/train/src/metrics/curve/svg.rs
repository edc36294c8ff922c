//! The picture as SVG.

use super::{Anchor, Color, HEIGHT, Shape, WIDTH};
use std::fmt::Write;

/// The file's text.
pub(super) fn render(shapes: &[Shape]) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"16\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for shape in shapes {
        // Writing to a string cannot fail.
        let _ = match shape {
            Shape::Line { points, color, width } => {
                let mut places: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
                if places.len() == 1 {
                    places.push(places[0].clone());
                }
                writeln!(
                    svg,
                    "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{width}\" \
                     stroke-linecap=\"round\" stroke-linejoin=\"round\"/>",
                    places.join(" "),
                    hex(*color)
                )
            }
            Shape::Text { place: (x, y), text, anchor, color } => {
                let anchor = match anchor {
                    Anchor::Start => "start",
                    Anchor::Middle => "middle",
                    Anchor::End => "end",
                };
                writeln!(
                    svg,
                    "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" dominant-baseline=\"central\" fill=\"{}\">\
                     {text}</text>",
                    hex(*color)
                )
            }
        };
    }
    svg + "</svg>\n"
}

fn hex([red, green, blue]: Color) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}
