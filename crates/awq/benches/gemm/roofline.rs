//! Operations a second against rows, with the limits, as SVG.

use crate::limits::Limits;
use crate::shape::Shape;
use crate::table::Row;
use std::fmt::Write;

const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 620.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 190.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 60.0;

const GREY: &str = "#888888";
/// Name, colour, and where the times come from.
type Series = (&'static str, &'static str, fn(&Row) -> Option<f64>);

const SERIES: [Series; 6] = [
    ("qtuner bf16", "#1f69b2", |row| Some(row.ours[0].forward)),
    ("qtuner f16", "#5aa3e0", |row| Some(row.ours[1].forward)),
    ("qtuner f32", "#2a9d5c", |row| Some(row.ours[2].forward)),
    ("dense bf16", "#d95f02", |row| Some(row.dense_bf16)),
    ("dense f32", "#e6ab02", |row| Some(row.dense_f32)),
    ("ATen int4 bf16", "#b0308b", |row| row.int4),
];

/// The picture of one layer.
pub(crate) fn draw(shape: Shape, limits: &Limits, measured: &[Row]) -> String {
    let rate = |row: &Row, milliseconds: f64| shape.operations(row.rows) / milliseconds / 1e6;
    let frame = Frame::around(measured, limits.bf16 / 1e9, rate(&measured[0], measured[0].dense_f32));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"15\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    text(&mut svg, (LEFT, 28.0), "start", &format!("One layer, {shape}: GFLOP/s against rows"));
    frame.grid(&mut svg, measured);
    let limit: Vec<(f64, f64)> = measured
        .iter()
        .map(|row| frame.place(row.rows, rate(row, row.limits.least(shape, row.rows))))
        .collect();
    line(&mut svg, &limit, GREY, "6 4");
    let mut ends = vec![(limit[limit.len() - 1].1, "limit", GREY)];
    for (name, color, time) in SERIES {
        let points: Vec<(f64, f64)> =
            measured.iter().filter_map(|row| Some(frame.place(row.rows, rate(row, time(row)?)))).collect();
        if let Some(last) = points.last() {
            line(&mut svg, &points, color, "");
            ends.push((last.1, name, color));
        }
    }
    labels(&mut svg, ends);
    svg.push_str("</svg>\n");
    svg
}

/// Names at the lines' ends, moved apart where they would meet.
fn labels(svg: &mut String, mut ends: Vec<(f64, &str, &str)>) {
    ends.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mut free = 0.0;
    for (y, name, color) in ends {
        let y = f64::max(y, free);
        free = y + 19.0;
        let x = WIDTH - RIGHT + 12.0;
        let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{:.1}\" fill=\"{color}\">{name}</text>", y + 5.0);
    }
}

/// Both axes are logarithmic.
struct Frame {
    rows: (f64, f64),
    rates: (f64, f64),
}

impl Frame {
    fn around(measured: &[Row], highest: f64, lowest: f64) -> Self {
        let rows = |row: Option<&Row>| row.map_or(0.0, |row| crate::shape::float(row.rows).log2());
        Self {
            rows: (rows(measured.first()), rows(measured.last()).max(1.0)),
            rates: (lowest.log10().floor(), (highest * 1.3).log10()),
        }
    }

    fn place(&self, rows: i64, rate: f64) -> (f64, f64) {
        let across = (crate::shape::float(rows).log2() - self.rows.0) / (self.rows.1 - self.rows.0);
        let up = (rate.log10() - self.rates.0) / (self.rates.1 - self.rates.0);
        (LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM))
    }

    fn grid(&self, svg: &mut String, measured: &[Row]) {
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        for row in measured {
            let (x, _) = self.place(row.rows, 1.0);
            line(svg, &[(x, TOP), (x, bottom)], "#e2e2e2", "");
            text(svg, (x, bottom + 22.0), "middle", &row.rows.to_string());
        }
        let mut decade = 10f64.powf(self.rates.0);
        while decade.log10() < self.rates.1 {
            for step in [1.0, 2.0, 5.0].map(|step| step * decade) {
                if step.log10() <= self.rates.1 {
                    let (_, y) = self.place(1, step);
                    line(svg, &[(LEFT, y), (right, y)], "#e2e2e2", "");
                    text(svg, (LEFT - 8.0, y + 5.0), "end", &format!("{step}"));
                }
            }
            decade *= 10.0;
        }
        text(svg, (f64::midpoint(LEFT, right), HEIGHT - 12.0), "middle", "rows");
    }
}

fn line(svg: &mut String, points: &[(f64, f64)], color: &str, dashes: &str) {
    let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let width = if color.starts_with("#e2") { 1.0 } else { 2.5 };
    let _ = writeln!(
        svg,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"{width}\" stroke-dasharray=\"{dashes}\"/>",
        points.join(" ")
    );
}

fn text(svg: &mut String, place: (f64, f64), anchor: &str, words: &str) {
    let (x, y) = place;
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"#3c3c3c\">{words}</text>"
    );
}
