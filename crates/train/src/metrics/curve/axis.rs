//! Where an axis has its marks.

/// An axis from the lowest to the highest value of the data, and its marks at round numbers.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) marks: Vec<f64>,
    decimals: usize,
}

impl Axis {
    /// An axis that holds `values`, with a mark every 1, 2 or 5 times a power of ten, but not below `least_step`.
    pub(super) fn over(values: impl Iterator<Item = f64>, least_step: f64) -> Self {
        let (mut low, mut high) = values
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        if high - low < least_step {
            (low, high) = (low - least_step / 2.0, high + least_step / 2.0);
        }
        let step = round_step((high - low) / 6.0).max(least_step);
        let (first, last) = ((low / step).floor(), (high / step).ceil());
        let mut marks = Vec::new();
        let mut index = first;
        while index <= last {
            marks.push(index * step);
            index += 1.0;
        }
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a small number, at least 0"
        )]
        let decimals = (-step.log10().floor()).clamp(0.0, 12.0) as usize;
        Self { low: first * step, high: last * step, marks, decimals }
    }

    /// Where `value` is on the axis: 0 at its low end, 1 at its high end.
    pub(super) fn place(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }

    /// A mark's number, as it is written.
    pub(super) fn label(&self, mark: f64) -> String {
        format!("{mark:.*}", self.decimals)
    }
}

/// The smallest of 1, 2, 5 times a power of ten that is at least `width`.
fn round_step(width: f64) -> f64 {
    let power = 10f64.powf(width.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= width * (1.0 - 1e-9));
    factor.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(values: &[f64], least_step: f64, labels: &[&str]) {
        let axis = Axis::over(values.iter().copied(), least_step);
        let found: Vec<String> = axis.marks.iter().map(|mark| axis.label(*mark)).collect();
        assert_eq!(found, labels, "{values:?}");
        for value in values {
            assert!((0.0..=1.0).contains(&axis.place(*value)), "{value} on {axis:?}");
        }
    }

    #[test]
    fn marks_are_at_round_numbers_around_the_data() {
        check(&[4.4, 6.0], 1e-9, &["4.0", "4.5", "5.0", "5.5", "6.0"]);
        check(&[0.0, 200.0], 1.0, &["0", "50", "100", "150", "200"]);
        check(&[0.0, 1.0], 1.0, &["0", "1"]);
        check(
            &[0.001, 0.0013],
            1e-9,
            &["0.00100", "0.00105", "0.00110", "0.00115", "0.00120", "0.00125", "0.00130"],
        );
        check(&[3.0], 0.1, &["2.9", "3.0", "3.1"]);
    }
}
