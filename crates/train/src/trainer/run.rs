//! The loop.

use super::gradients::Gradients;
use super::{Event, Observer, Outcome, Plan, Status, StepMetrics, TrainConfig, TrainError};
use crate::LanguageModel;
use crate::checkpoint::{self, Best, Contents, TrainerState};
use crate::data::{Batch, Dataset, SampleOrder};
use crate::loss::{self, Evaluation, LossSum};
use crate::metrics::{MetricsLog, peak_memory};
use crate::optimizer::{AdamW, clip_grad_norm, trainable_parameters};
use qtuner_core::{Layer, Mode, model as adapters, save_adapter};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tch::Tensor;

/// A training run of one adapter.
///
/// Dropout draws from libtorch's one generator, which each step seeds: for a result that can be repeated bit for bit, nothing
/// else in the process may draw from it during a step, and the number of libtorch's threads has to stay the same.
///
/// ```no_run
/// use qtuner_train::{Dataset, LanguageModel, TrainConfig, TrainError, Trainer, trainer::Silent};
/// use std::sync::atomic::AtomicBool;
///
/// fn train(model: &mut impl LanguageModel, train: Dataset, eval: Dataset) -> Result<(), TrainError> {
///     let config = TrainConfig { max_steps: Some(100), ..TrainConfig::default() };
///     let mut trainer = Trainer::new(model, "default", config, train, eval, "out".as_ref())?;
///     let outcome = trainer.run(&mut Silent, &AtomicBool::new(false))?;
///     println!("{outcome}");
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct Trainer<'m, M> {
    pub(super) model: &'m mut M,
    adapter_name: String,
    pub(super) config: TrainConfig,
    plan: Plan,
    pub(super) train: Dataset,
    eval: Dataset,
    output: PathBuf,
    pub(super) order: SampleOrder,
    pub(super) optimizer: AdamW,
    pub(super) step: u64,
    pub(super) best: Option<Best>,
    /// The newest checkpoint and its step.
    pub(super) saved: Option<(u64, PathBuf)>,
    data_hash: String,
}

impl<'m, M: LanguageModel> Trainer<'m, M> {
    /// A run of `model`'s adapter called `adapter_name`, with results in the folder `output`. An empty `eval` is fine.
    ///
    /// # Errors
    /// [`TrainError`] when the configuration, the data or the model cannot be used.
    pub fn new(
        model: &'m mut M,
        adapter_name: &str,
        config: TrainConfig,
        train: Dataset,
        eval: Dataset,
        output: &Path,
    ) -> Result<Self, TrainError> {
        config.validate()?;
        Self::check_data(model, &train, &eval)?;
        let parameters = trainable_parameters(model);
        if parameters.is_empty() {
            return Err(TrainError::NothingTrains);
        }
        check_adapter(model, adapter_name)?;
        Ok(Self {
            optimizer: AdamW::new(parameters, config.adamw_options())?,
            plan: Plan::new(&config, &train, &eval),
            order: SampleOrder::new(config.seed, train.samples().len()),
            data_hash: train.fingerprint(),
            model,
            adapter_name: adapter_name.to_owned(),
            config,
            train,
            eval,
            output: output.to_owned(),
            step: 0,
            best: None,
            saved: None,
        })
    }

    /// Refuses data that a run of `model` would refuse, before there is one.
    ///
    /// # Errors
    /// [`TrainError::NoSamples`], and [`TrainError::Vocabulary`] for tokens that the model does not have.
    pub fn check_data(model: &M, train: &Dataset, eval: &Dataset) -> Result<(), TrainError> {
        if train.samples().is_empty() {
            return Err(TrainError::NoSamples);
        }
        let tokens = train.vocab_size().max(eval.vocab_size());
        if tokens > model.vocab_size() {
            return Err(TrainError::Vocabulary { largest: tokens - 1, vocab_size: model.vocab_size() });
        }
        Ok(())
    }

    /// What the run will do.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Trains to the end, or until `stop` is set: the step that goes on then is finished and saved. An evaluation is broken off
    /// after its batch, and is made up for when the run goes on.
    ///
    /// # Errors
    /// [`TrainError`]; finished checkpoints are whole, and the newest is where a resumed run goes on.
    pub fn run(&mut self, observer: &mut dyn Observer, stop: &AtomicBool) -> Result<Outcome, TrainError> {
        let mut metrics = self.prepare_output()?;
        if let Some(best) = self.best {
            // The process before this one may have ended before it could.
            checkpoint::mark_best(&self.output, best)?;
        }
        let mut evaluation = None;
        observer.observe(&Event::Started { plan: &self.plan, step: self.step });
        if self.step == 0 && self.config.eval_on_start {
            self.evaluate(observer, &mut metrics, stop)?;
        }
        if self.step > 0 && self.evaluation_is_due() {
            // The process before this one may have ended within the evaluation.
            evaluation = match metrics.evaluation_after(self.step) {
                Some(found) => Some(found),
                None => self.evaluate(observer, &mut metrics, stop)?,
            };
            if evaluation.is_some_and(|found| self.is_best_yet(found)) {
                self.save(observer)?;
            }
        }
        while self.step < self.plan.steps && !stop.load(Ordering::Relaxed) {
            let figures = self.train_step()?;
            if self.step.is_multiple_of(self.config.log_every) || self.step == self.plan.steps {
                metrics.step(&figures)?;
            }
            observer.observe(&Event::Step(&figures));
            let mut best_yet = false;
            if self.evaluation_is_due() {
                evaluation = self.evaluate(observer, &mut metrics, stop)?;
                best_yet = evaluation.is_some_and(|found| self.is_best_yet(found));
            }
            let due = self.step.is_multiple_of(self.config.save_every) || self.step == self.plan.steps;
            if due || best_yet {
                self.save(observer)?;
                metrics.draw()?;
            }
        }
        let is_judged = evaluation.is_some() || self.eval.samples().is_empty();
        let is_finished = self.step == self.plan.steps && is_judged;
        let status = if is_finished { Status::Finished } else { Status::Stopped };
        let checkpoint = match self.saved.clone() {
            Some((step, path)) if step == self.step => path,
            _ => self.save(observer)?,
        };
        if status == Status::Finished {
            save_adapter(self.model, &self.adapter_name, &self.output)?;
        }
        metrics.draw()?;
        let outcome = Outcome {
            status,
            step: self.step,
            max_steps: self.plan.steps,
            checkpoint,
            best: self.best,
            evaluation,
        };
        observer.observe(&Event::Finished(&outcome));
        Ok(outcome)
    }

    /// One optimizer step over all batches of it.
    fn train_step(&mut self) -> Result<StepMetrics, TrainError> {
        let started = Instant::now();
        adapters::set_mode(self.model, Mode::Train);
        let batches = self.next_batches()?;
        let Gradients { loss, norm, scale } = self.gradients(&batches)?;
        self.refuse_unless_finite(loss.mean(), norm)?;
        if self.config.max_grad_norm > 0.0 {
            clip_grad_norm(self.optimizer.parameters(), norm, self.config.max_grad_norm)?;
        }
        let learning_rate = self.plan.schedule(&self.config).rate(self.step);
        self.optimizer.step_scaled(learning_rate, scale)?;
        self.step += 1;
        Ok(self.figures(&batches, loss, learning_rate, norm, started))
    }

    /// The batches of the next step, in the data's order.
    fn next_batches(&mut self) -> Result<Vec<Batch>, TrainError> {
        let mut batches = Vec::new();
        for _ in 0..self.config.gradient_accumulation_steps {
            let indices = self.order.by_ref().take(self.config.batch_size);
            let samples: Vec<_> = indices.map(|index| &self.train.samples()[index]).collect();
            batches.push(Batch::new(&samples, self.train.pad())?);
        }
        Ok(batches)
    }

    fn refuse_unless_finite(&self, loss: f64, grad_norm: f64) -> Result<(), TrainError> {
        if loss.is_finite() && grad_norm.is_finite() {
            return Ok(());
        }
        let last_checkpoint = self.saved.clone().map(|(_, path)| path);
        Err(TrainError::NotFinite { step: self.step + 1, loss, grad_norm, last_checkpoint })
    }

    #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    fn figures(
        &self,
        batches: &[Batch],
        loss: LossSum,
        learning_rate: f64,
        grad_norm: f64,
        started: Instant,
    ) -> StepMetrics {
        let tokens = batches.iter().map(|batch| batch.real_tokens).sum();
        StepMetrics {
            step: self.step,
            epoch: self.order.position() as f64 / self.train.samples().len() as f64,
            loss: loss.mean(),
            learning_rate,
            grad_norm,
            tokens,
            tokens_per_second: tokens as f64 / started.elapsed().as_secs_f64().max(1e-9),
            peak_memory: peak_memory(),
        }
    }

    fn evaluation_is_due(&self) -> bool {
        let every = self.config.eval_every.is_some_and(|every| self.step.is_multiple_of(every));
        every || self.step == self.plan.steps
    }

    /// Whether this step's evaluation is the best so far, which is noted then.
    fn is_best_yet(&mut self, found: Evaluation) -> bool {
        // Against no evaluation, one that is no number would win, and JSON cannot hold it.
        let is_best = found.loss.is_finite() && self.best.is_none_or(|best| found.loss < best.eval_loss);
        if is_best {
            self.best = Some(Best { step: self.step, eval_loss: found.loss });
        }
        is_best
    }

    /// Evaluates the held-out data, if there is any; without a result when `stop` breaks it off.
    fn evaluate(
        &mut self,
        observer: &mut dyn Observer,
        metrics: &mut MetricsLog,
        stop: &AtomicBool,
    ) -> Result<Option<Evaluation>, TrainError> {
        let total = self.eval.samples().len();
        if total == 0 {
            return Ok(None);
        }
        let batch_size = self.config.eval_batch_size.unwrap_or(self.config.batch_size);
        let evaluation = loss::evaluate_while(self.model, &self.eval, batch_size, |samples| {
            observer.observe(&Event::Evaluating { samples, total });
            if stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        let Some(evaluation) = evaluation else { return Ok(None) };
        metrics.evaluation(self.step, &evaluation)?;
        observer.observe(&Event::Evaluated { step: self.step, evaluation: &evaluation });
        Ok(Some(evaluation))
    }

    /// Writes the checkpoint of this step, and deletes those that need not stay.
    fn save(&mut self, observer: &mut dyn Observer) -> Result<PathBuf, TrainError> {
        let path = self.output.clone();
        let optimizer = self.optimizer.to_bytes().map_err(|source| TrainError::Optimizer { path, source })?;
        let state = TrainerState {
            global_step: self.step,
            max_steps: self.plan.steps,
            samples_seen: self.order.position(),
            best: self.best,
            data_hash: self.data_hash.clone(),
            config_hash: self.config.hash(),
            config: self.config.clone(),
            files: BTreeMap::new(),
        };
        let contents = Contents { model: &*self.model, adapter_name: &self.adapter_name, optimizer, state };
        let path = checkpoint::write(&self.output, contents)?;
        if let Some(best) = self.best {
            checkpoint::mark_best(&self.output, best)?;
        }
        checkpoint::prune(&self.output, self.config.keep_last, self.best, self.step)?;
        observer.observe(&Event::Saved { step: self.step, path: &path });
        self.saved = Some((self.step, path.clone()));
        Ok(path)
    }

    /// Makes the output folder ready: nothing in it is of another run, and nothing is left from one that died.
    fn prepare_output(&mut self) -> Result<MetricsLog, TrainError> {
        let steps = checkpoint::steps(&self.output)?;
        let goes_on_here = self.saved.as_ref().is_some_and(|(_, path)| is_in(path, &self.output));
        if !goes_on_here && !steps.is_empty() {
            return Err(TrainError::Occupied { path: self.output.clone(), checkpoints: steps.len() });
        }
        let log = MetricsLog::open(&self.output, self.step)?;
        checkpoint::remove_leftovers(&self.output)?;
        Ok(log)
    }

    pub(super) fn data_hash(&self) -> &str {
        &self.data_hash
    }
}

/// Whether `path` lies in `folder`, whatever ways lead to them.
fn is_in(path: &Path, folder: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    let parent = std::path::absolute(path).ok().and_then(|path| real(path.parent()?));
    parent.is_some_and(|parent| real(folder).is_some_and(|folder| parent == folder))
}

/// Refuses a name whose adapter is not there or does not train: others would be trained, and this one saved.
fn check_adapter(model: &impl LanguageModel, name: &str) -> Result<(), TrainError> {
    let leaves = model.collect_leaves();
    let trains = |layer: &dyn Layer| match (layer.as_lora(), layer.as_tuner()) {
        (Some(lora), _) => lora.lora_a(name).is_some_and(Tensor::requires_grad),
        (None, Some(tuner)) => tuner.active_adapters().iter().any(|active| active == name),
        (None, None) => false,
    };
    if leaves.slots.iter().any(|(_, slot)| trains(slot.layer())) {
        return Ok(());
    }
    let (active, known) = (adapters::active_adapters(model), adapters::adapter_names(model));
    Err(TrainError::AdapterDoesNotTrain { name: name.to_owned(), active, known })
}
