//! What is in the picture, and where.

use super::axis::Axis;
use super::{Anchor, Color, HEIGHT, Record, Shape, WIDTH};

const LEFT: f64 = 90.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 70.0;

const INK: Color = [60, 60, 60];
const GRID: Color = [226, 226, 226];
const TRAIN_PALE: Color = [178, 205, 232];
const TRAIN: Color = [31, 105, 178];
const EVALUATION: Color = [217, 95, 2];

/// How much of the running mean each step keeps.
const SMOOTHING: f64 = 0.9;

type Points = Vec<(f64, f64)>;

/// The shapes of the picture, in the order of drawing; none without figures.
pub(super) fn layout(records: &[Record]) -> Vec<Shape> {
    let (train, evaluation) = points(records);
    if train.is_empty() && evaluation.is_empty() {
        return Vec::new();
    }
    let all = || train.iter().chain(&evaluation);
    let steps = Axis::over(all().map(|point| point.0), 1.0);
    let losses = Axis::over(all().map(|point| point.1), 1e-6);
    let place = |point: &(f64, f64)| (across(steps.place(point.0)), down(losses.place(point.1)));
    let place_all = |points: &[(f64, f64)]| -> Points { points.iter().map(place).collect() };

    let mut shapes = axes(&steps, &losses);
    let mut line = |points: Points, color, width| shapes.push(Shape::Line { points, color, width });
    line(place_all(&train), TRAIN_PALE, 1.5);
    line(place_all(&running_mean(&train)), TRAIN, 2.5);
    line(place_all(&evaluation), EVALUATION, 2.0);
    for point in &evaluation {
        line(vec![place(point)], EVALUATION, 9.0);
    }
    legend(&mut shapes, !train.is_empty(), !evaluation.is_empty());
    shapes
}

#[allow(clippy::cast_precision_loss, reason = "steps are far below 2^53")]
fn points(records: &[Record]) -> (Points, Points) {
    let (mut train, mut evaluation) = (Points::new(), Points::new());
    for record in records {
        match record {
            Record::Step(metrics) => train.push((metrics.step as f64, metrics.loss)),
            Record::Evaluation { step, evaluation: found } => evaluation.push((*step as f64, found.loss)),
        }
    }
    train.retain(|point| point.1.is_finite());
    evaluation.retain(|point| point.1.is_finite());
    (train, evaluation)
}

/// The exponential running mean, without the pull towards its start.
fn running_mean(points: &[(f64, f64)]) -> Points {
    let (mut sum, mut weight) = (0.0, 0.0);
    let mean = |(step, loss): &(f64, f64)| {
        sum = SMOOTHING * sum + (1.0 - SMOOTHING) * loss;
        weight = SMOOTHING * weight + (1.0 - SMOOTHING);
        (*step, sum / weight)
    };
    points.iter().map(mean).collect()
}

#[allow(clippy::cast_precision_loss, reason = "a picture's size")]
fn across(part: f64) -> f64 {
    LEFT + part * (WIDTH as f64 - LEFT - RIGHT)
}

#[allow(clippy::cast_precision_loss, reason = "a picture's size")]
fn down(part: f64) -> f64 {
    TOP + (1.0 - part) * (HEIGHT as f64 - TOP - BOTTOM)
}

fn axes(steps: &Axis, losses: &Axis) -> Vec<Shape> {
    let mut shapes = Vec::new();
    let mut line = |from, to, color, width| shapes.push(Shape::Line { points: vec![from, to], color, width });
    for mark in &losses.marks {
        let y = down(losses.place(*mark));
        line((across(0.0), y), (across(1.0), y), GRID, 1.0);
    }
    for mark in &steps.marks {
        let x = across(steps.place(*mark));
        line((x, down(0.0)), (x, down(1.0)), GRID, 1.0);
    }
    line((across(0.0), down(1.0)), (across(0.0), down(0.0)), INK, 1.5);
    line((across(0.0), down(0.0)), (across(1.0), down(0.0)), INK, 1.5);
    let mut text = |place, text: String, anchor| shapes.push(Shape::Text { place, text, anchor, color: INK });
    for mark in &losses.marks {
        text((across(0.0) - 10.0, down(losses.place(*mark))), losses.label(*mark), Anchor::End);
    }
    for mark in &steps.marks {
        text((across(steps.place(*mark)), down(0.0) + 20.0), steps.label(*mark), Anchor::Middle);
    }
    text((across(0.5), down(0.0) + 50.0), "step".to_owned(), Anchor::Middle);
    text((across(0.0), down(1.0) - 25.0), "loss".to_owned(), Anchor::Middle);
    shapes
}

/// The names of the lines, in the upper right corner.
fn legend(shapes: &mut Vec<Shape>, train: bool, evaluation: bool) {
    let entries = [(train, "train", TRAIN), (evaluation, "evaluation", EVALUATION)];
    let mut x = across(1.0) - 330.0;
    let y = down(1.0) - 25.0;
    for (_, name, color) in entries.into_iter().filter(|(there, ..)| *there) {
        shapes.push(Shape::Line { points: vec![(x, y), (x + 30.0, y)], color, width: 3.0 });
        let place = (x + 40.0, y);
        shapes.push(Shape::Text { place, text: name.to_owned(), anchor: Anchor::Start, color: INK });
        x += 150.0;
    }
}
