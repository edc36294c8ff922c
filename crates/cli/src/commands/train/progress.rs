//! A run as it goes, on stderr: a bar on a terminal, plain lines elsewhere.

use crate::output;
use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use qtuner_train::{Evaluation, Event, Observer, StepMetrics};
use std::collections::VecDeque;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// How many plain lines a run has, about.
const LINES: u64 = 20;
/// How long a run may be silent.
const SILENCE: Duration = Duration::from_mins(1);
/// A loss is the mean of so many steps at most: single ones jump.
const SMOOTH: u64 = 10;

/// Shows a run, and remembers what its summary says.
#[derive(Debug)]
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    started: Instant,
    spoken: Instant,
    start_step: u64,
    steps: u64,
    losses: VecDeque<f64>,
    tokens: usize,
    step_seconds: f64,
    /// The mean loss of the first steps.
    pub(super) first_loss: Option<f64>,
    /// The largest memory.
    pub(super) peak_memory: Option<u64>,
    /// The evaluation before the first step, if one was made.
    pub(super) evaluation_at_start: Option<Evaluation>,
}

impl Progress {
    /// For a run that starts soon.
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            bar: std::io::stderr()
                .is_terminal()
                .then(|| ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())),
            started: now,
            spoken: now,
            start_step: 0,
            steps: 0,
            losses: VecDeque::new(),
            tokens: 0,
            step_seconds: 0.0,
            first_loss: None,
            peak_memory: None,
            evaluation_at_start: None,
        }
    }

    /// The mean loss of the last steps.
    pub(super) fn last_loss(&self) -> Option<f64> {
        let count = u32::try_from(self.losses.len()).ok().filter(|count| *count > 0)?;
        Some(self.losses.iter().sum::<f64>() / f64::from(count))
    }

    /// Tokens a second in the steps, evaluations and checkpoints not counted.
    #[allow(clippy::cast_precision_loss, reason = "a speed for reading")]
    pub(super) fn tokens_per_second(&self) -> Option<f64> {
        (self.step_seconds > 0.0).then(|| self.tokens as f64 / self.step_seconds)
    }

    fn say(&mut self, text: &str) {
        self.spoken = Instant::now();
        match &self.bar {
            Some(bar) => bar.println(text),
            None => output::note(text),
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "a speed for reading")]
    fn step(&mut self, metrics: &StepMetrics) {
        let smooth = ((self.steps - self.start_step) / 4).clamp(1, SMOOTH);
        if self.losses.len() as u64 == smooth {
            self.losses.pop_front();
        }
        self.losses.push_back(metrics.loss);
        if metrics.step - self.start_step <= smooth {
            self.first_loss = self.last_loss();
        }
        self.tokens += metrics.tokens;
        self.step_seconds += metrics.tokens as f64 / metrics.tokens_per_second.max(f64::MIN_POSITIVE);
        self.peak_memory = self.peak_memory.max(metrics.peak_memory);
        if let Some(bar) = &self.bar {
            bar.set_position(metrics.step);
            let loss = self.last_loss().unwrap_or(metrics.loss);
            bar.set_message(format!("loss {loss:.3}  {:.0} tokens/s", metrics.tokens_per_second));
            return;
        }
        let every = self.steps.div_ceil(LINES).max(1);
        let is_first = metrics.step == self.start_step + 1;
        let is_due = metrics.step.is_multiple_of(every) || metrics.step == self.steps || is_first;
        if is_due || self.spoken.elapsed() > SILENCE {
            let left = HumanDuration(self.left(metrics.step));
            self.say(&format!(
                "step {:>4}/{}  loss {:.4}  rate {:.2e}  grad {:.3}  {:.0} tokens/s  {left} left",
                metrics.step,
                self.steps,
                metrics.loss,
                metrics.learning_rate,
                metrics.grad_norm,
                metrics.tokens_per_second
            ));
        }
    }

    /// The time that the rest will take at the speed so far.
    #[allow(clippy::cast_precision_loss, reason = "a time for reading")]
    fn left(&self, step: u64) -> Duration {
        let done = (step - self.start_step).max(1) as f64;
        self.started.elapsed().mul_f64((self.steps.saturating_sub(step)) as f64 / done)
    }
}

impl Observer for Progress {
    fn observe(&mut self, event: &Event<'_>) {
        match event {
            Event::Started { plan, step } => {
                (self.start_step, self.steps, self.started) = (*step, plan.steps, Instant::now());
                if let Some(bar) = &self.bar {
                    let template = "{bar:30} {pos}/{len}  {msg}  {eta} left";
                    if let Ok(style) = ProgressStyle::with_template(template) {
                        bar.set_style(style);
                    }
                    bar.set_length(plan.steps);
                    bar.set_position(*step);
                    bar.reset_eta();
                }
                if *step > 0 {
                    self.say(&format!("going on after step {step}"));
                }
            }
            Event::Step(metrics) => self.step(metrics),
            Event::Evaluating { samples, total } => {
                if let Some(bar) = &self.bar {
                    bar.set_message(format!("evaluating {samples}/{total}"));
                }
            }
            Event::Evaluated { step, evaluation } => {
                if *step == 0 {
                    self.evaluation_at_start = Some(**evaluation);
                }
                let Evaluation { loss, perplexity, .. } = evaluation;
                self.say(&format!(
                    "step {step:>4}/{}  held-out loss {loss:.4}, perplexity {perplexity:.2}",
                    self.steps
                ));
            }
            Event::Finished(_) => {
                if let Some(bar) = &self.bar {
                    bar.finish_and_clear();
                }
            }
            _ => {}
        }
    }
}
