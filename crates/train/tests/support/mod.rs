//! A toy language model and its data, small enough for many runs, with everything that training can get wrong: an attention
//! over the earlier tokens of a document, a frozen layer with an adapter, dropout.
#![allow(dead_code, reason = "each test file uses a part")]

use qtuner_core::{Linear, LoraConfig, ModuleTree, Slot, inject_adapter};
use qtuner_train::data::Sample;
use qtuner_train::optimizer::trainable_parameters;
use qtuner_train::{
    Checkpoint, Dataset, Event, LanguageModel, ModelError, Outcome, TrainConfig, TrainError, Trainer,
};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tch::{Device, Kind, Tensor};

pub(crate) const VOCAB: i64 = 23;
pub(crate) const HIDDEN: i64 = 12;

#[derive(ModuleTree)]
pub(crate) struct Toy {
    embedding: Tensor,
    mix: Slot,
    #[module(head)]
    head: Slot,
    #[module(skip)]
    pub(crate) vocab_size: i64,
}

/// Values without a random generator: the same in every process.
fn values(shape: &[i64], offset: f64) -> Tensor {
    let count: i64 = shape.iter().product();
    let angles = (Tensor::arange(count, (Kind::Double, Device::Cpu)) * 1.7 + offset) * 2.39;
    angles.sin().to_kind(Kind::Float).reshape(shape)
}

impl Toy {
    /// The base model, on one thread: tests and their children run side by side, and threads that wait for each other's cores
    /// take many times longer.
    pub(crate) fn base(vocab_size: i64) -> Self {
        tch::set_num_threads(1);
        let slot = |weight| Slot::from(Linear::new(weight, None).expect("a matrix"));
        Self {
            embedding: values(&[vocab_size, HIDDEN], 0.1),
            mix: slot(values(&[HIDDEN, HIDDEN], 0.5) * 0.4),
            head: slot(values(&[vocab_size, HIDDEN], 0.9) * 0.5),
            vocab_size,
        }
    }

    /// With an adapter on the inner layer.
    pub(crate) fn adapted(dropout: f64) -> Self {
        Self::with_config(
            &LoraConfig::new(["mix"]).with_rank(3).with_lora_alpha(6).with_lora_dropout(dropout),
        )
    }

    pub(crate) fn with_config(config: &LoraConfig) -> Self {
        let mut model = Self::base(VOCAB);
        inject_adapter(&mut model, config, "default").expect("dense layers take adapters");
        // libtorch's generator is shared by all threads, and with it by tests that run at the same time.
        for (name, mut parameter) in trainable_parameters(&model) {
            if name.contains("lora_A") {
                let fixed = values(&parameter.size(), 0.3) * 0.3;
                tch::no_grad(|| parameter.f_copy_(&fixed)).expect("a leaf");
            }
        }
        model
    }
}

impl LanguageModel for Toy {
    /// `tanh(mix(mean of the document so far))` plus the token's own embedding.
    fn hidden_states(&self, tokens: &Tensor, segments: Option<&Tensor>) -> Result<Tensor, ModelError> {
        let time = tokens.size()[1];
        let embedded = Tensor::embedding(&self.embedding, tokens, -1, false, false);
        let mut sees = Tensor::ones([time, time], (Kind::Float, Device::Cpu)).tril(0).unsqueeze(0);
        if let Some(segments) = segments {
            let same = segments.unsqueeze(1).eq_tensor(&segments.unsqueeze(2));
            sees = same.to_kind(Kind::Float).multiply(&sees);
        }
        let mean = sees.matmul(&embedded) / sees.sum_dim_intlist(-1, true, Kind::Float);
        Ok(embedded + self.mix.forward(&mean)?.tanh())
    }

    fn logits(&self, hidden: &Tensor) -> Result<Tensor, ModelError> {
        Ok(self.head.forward(hidden)?)
    }

    fn vocab_size(&self) -> i64 {
        self.vocab_size
    }
}

/// Windows of `length` tokens in which the next token follows from the last by a rule.
pub(crate) fn windows(count: u32, length: u32) -> Dataset {
    let window = |start: u32| {
        let tokens: Vec<u32> = (0..length).map(|place| (start * 5 + place * place * 3) % 23).collect();
        Sample::window(&tokens)
    };
    Dataset::new((0..count).map(window).collect(), 0)
}

pub(crate) fn no_data() -> Dataset {
    Dataset::new(Vec::new(), 0)
}

/// A configuration of a short run.
pub(crate) fn config(max_steps: u64) -> TrainConfig {
    TrainConfig {
        max_steps: Some(max_steps),
        batch_size: 2,
        gradient_accumulation_steps: 2,
        learning_rate: 5e-3,
        weight_decay: 0.1,
        save_every: 1_000,
        ..TrainConfig::default()
    }
}

/// Waits for the tests that draw from libtorch's one generator, as dropout and a fresh adapter do: two at once in a process
/// would draw from each other's.
pub(crate) fn turn_to_draw() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Trains a fresh adapter with dropout in `output`, or goes on from its newest checkpoint; stops after `stop_after` steps.
pub(crate) fn train(output: &Path, config: &TrainConfig, stop_after: u64) -> Result<Outcome, TrainError> {
    let stop = AtomicBool::new(stop_after == 0);
    train_until(output, config, &stop, |event| {
        if let Event::Step(metrics) = event {
            stop.store(metrics.step >= stop_after, Ordering::Relaxed);
        }
    })
}

/// The same, with an observer of the test's own, until `stop` is set.
pub(crate) fn train_until(
    output: &Path,
    config: &TrainConfig,
    stop: &AtomicBool,
    mut watch: impl FnMut(&Event<'_>),
) -> Result<Outcome, TrainError> {
    let _turn = turn_to_draw();
    let checkpoint = Checkpoint::newest(output)?;
    let mut model = match &checkpoint {
        None => Toy::adapted(0.25),
        Some(checkpoint) => {
            let mut model = Toy::base(VOCAB);
            checkpoint.load_adapter(&mut model, "default")?;
            model
        }
    };
    let (data, held_out) = (windows(11, 9), windows(3, 7));
    let mut trainer = Trainer::new(&mut model, "default", config.clone(), data, held_out, output)?;
    if let Some(checkpoint) = &checkpoint {
        trainer.resume(checkpoint)?;
    }
    trainer.run(&mut watch, stop)
}
