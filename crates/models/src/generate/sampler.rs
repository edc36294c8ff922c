//! From a row of logits to the next token.

use super::GenerationOptions;
use super::random::Random;
use std::cmp::Ordering;
use std::collections::BTreeSet;

/// Chooses the tokens of one text.
#[derive(Debug)]
pub(super) struct Sampler<'a> {
    options: &'a GenerationOptions,
    random: Random,
    seen: BTreeSet<usize>,
}

/// A token and its logit, or its weight.
type Candidate = (usize, f64);

impl<'a> Sampler<'a> {
    /// For the text in `row` that begins with `prompt`.
    pub(super) fn new(options: &'a GenerationOptions, row: usize, prompt: &[i64]) -> Self {
        let random = Random::new(options.seed, row as u64);
        let seen = prompt.iter().filter_map(|token| usize::try_from(*token).ok()).collect();
        Self { options, random, seen }
    }

    /// The next token by the `logits [vocab]`, of which there is at least one.
    pub(super) fn next(&mut self, logits: &mut [f32]) -> usize {
        self.penalise(logits);
        let token = if self.options.temperature == 0.0 { likeliest(logits) } else { self.draw(logits) };
        self.seen.insert(token);
        token
    }

    #[allow(clippy::cast_possible_truncation, reason = "logits are f32")]
    fn penalise(&self, logits: &mut [f32]) {
        let penalty = self.options.repetition_penalty as f32;
        if penalty.to_bits() == 1.0_f32.to_bits() {
            return;
        }
        for token in &self.seen {
            if let Some(logit) = logits.get_mut(*token) {
                *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
            }
        }
    }

    fn draw(&mut self, logits: &[f32]) -> usize {
        let scaled = |logit: &f32| f64::from(*logit) / self.options.temperature;
        let mut candidates: Vec<Candidate> = logits.iter().map(scaled).enumerate().collect();
        keep_top_k(&mut candidates, self.options.top_k);
        weigh(&mut candidates);
        keep_top_p(&mut candidates, self.options.top_p);
        let total: f64 = candidates.iter().map(|(_, weight)| weight).sum();
        let mut left = self.random.unit() * total;
        let drawn = candidates.iter().find(|(_, weight)| {
            left -= weight;
            left < 0.0
        });
        // Rounding, or logits that are no numbers, may leave nothing: the likeliest it is then.
        drawn.map_or_else(|| likeliest(logits), |(token, _)| *token)
    }
}

/// The token of the largest logit; the first of equal ones.
fn likeliest(logits: &[f32]) -> usize {
    let mut best = 0;
    for (token, logit) in logits.iter().enumerate() {
        if logits.get(best).is_none_or(|best| logit > best || best.is_nan()) {
            best = token;
        }
    }
    best
}

/// By falling value, and by token where values are equal, so that the order is one.
fn descending(left: &Candidate, right: &Candidate) -> Ordering {
    right.1.total_cmp(&left.1).then(left.0.cmp(&right.0))
}

fn keep_top_k(candidates: &mut Vec<Candidate>, top_k: Option<usize>) {
    if let Some(top_k) = top_k.filter(|top_k| *top_k < candidates.len()) {
        candidates.select_nth_unstable_by(top_k, descending);
        candidates.truncate(top_k);
        candidates.sort_by(descending);
    }
}

/// Logits become weights relative to the largest, which is 1.
fn weigh(candidates: &mut [Candidate]) {
    let largest = candidates.iter().map(|(_, logit)| *logit).fold(f64::NEG_INFINITY, f64::max);
    for (_, logit) in candidates {
        *logit = (*logit - largest).exp();
    }
}

/// Keeps the shortest list of the likeliest that has the probability `top_p`.
fn keep_top_p(candidates: &mut Vec<Candidate>, top_p: Option<f64>) {
    let Some(top_p) = top_p.filter(|top_p| *top_p < 1.0) else { return };
    candidates.sort_by(descending);
    let enough = top_p * candidates.iter().map(|(_, weight)| weight).sum::<f64>();
    let mut sum = 0.0;
    let kept = candidates.iter().take_while(|(_, weight)| {
        let needed = sum < enough;
        sum += weight;
        needed
    });
    let kept = kept.count();
    candidates.truncate(kept.max(1));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(options: &GenerationOptions, logits: &[f32], count: usize) -> Vec<usize> {
        let mut sampler = Sampler::new(options, 0, &[]);
        (0..count).map(|_| sampler.next(&mut logits.to_vec())).collect()
    }

    #[test]
    fn greedy_takes_the_first_of_the_largest() {
        assert_eq!(draws(&GenerationOptions::default(), &[0.0, 2.0, 2.0, -1.0], 1), [1]);
    }

    #[test]
    fn top_k_and_top_p_draw_from_the_likeliest_alone() {
        let logits = [0.0, 3.0, 1.0, 2.9];
        let top_k = GenerationOptions { temperature: 1.0, top_k: Some(2), ..GenerationOptions::default() };
        assert!(draws(&top_k, &logits, 200).iter().all(|token| [1, 3].contains(token)));
        let top_p = GenerationOptions { temperature: 1.0, top_p: Some(0.3), ..GenerationOptions::default() };
        assert_eq!(draws(&top_p, &logits, 200), [1; 200]);
    }

    #[test]
    fn draws_have_the_probabilities_of_the_softmax() {
        let options = GenerationOptions { temperature: 0.5, ..GenerationOptions::default() };
        let (logits, count) = ([0.0_f32, 0.5], 20_000_u32);
        let ones = draws(&options, &logits, count as usize).iter().sum::<usize>();
        let probability = 1.0 / (1.0 + (-1.0_f64).exp());
        let (mean, count) = (f64::from(count) * probability, f64::from(count));
        let deviation = (count * probability * (1.0 - probability)).sqrt();
        assert!((f64::from(u32::try_from(ones).unwrap()) - mean).abs() < 5.0 * deviation, "{ones} of {mean}");
    }

    #[test]
    fn a_repetition_penalty_makes_seen_tokens_less_likely() {
        let options = GenerationOptions { repetition_penalty: 2.0, ..GenerationOptions::default() };
        assert_eq!(draws(&options, &[3.0, 2.0, -1.0], 3), [0, 1, 0]);
        let mut sampler = Sampler::new(&options, 0, &[0]);
        assert_eq!(sampler.next(&mut [-1.0, -1.5]), 1);
    }

    #[test]
    fn logits_that_are_no_numbers_still_give_a_token() {
        let sampled =
            GenerationOptions { temperature: 1.0, top_p: Some(0.9), ..GenerationOptions::default() };
        for options in [GenerationOptions::default(), sampled] {
            assert!(draws(&options, &[f32::NAN, f32::NAN], 3).iter().all(|token| *token < 2));
        }
    }
}
