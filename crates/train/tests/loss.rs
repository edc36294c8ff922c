//! The sliced loss against the plain one, and accumulated batches against one large batch.
#![allow(clippy::cast_precision_loss, reason = "counts of a test are small")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use proptest::prelude::*;
use qtuner_train::data::{Batch, IGNORED, Sample};
use qtuner_train::loss::{backward, slice_rows};
use qtuner_train::optimizer::{Parameters, trainable_parameters};
use qtuner_train::{Dataset, LanguageModel, evaluate};
use support::{HIDDEN, Toy, VOCAB};
use tch::{Kind, Reduction, Tensor};

const EPS: f64 = f32::EPSILON as f64;

fn sample() -> impl Strategy<Value = Sample> {
    prop::collection::vec(0u32..23, 2..12).prop_map(|tokens| Sample::window(&tokens))
}

fn samples(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Sample>> {
    prop::collection::vec(sample(), count)
}

/// The adapter's `B` starts at zero, which would leave half of the gradients at zero.
fn model() -> Toy {
    let model = Toy::adapted(0.0);
    for (name, mut parameter) in trainable_parameters(&model) {
        if name.contains("lora_B") {
            tch::no_grad(|| {
                let _ = parameter.f_fill_(0.1).expect("a leaf");
            });
        }
    }
    model
}

fn batch(samples: &[Sample]) -> Batch {
    Batch::new(&samples.iter().collect::<Vec<_>>(), 0).expect("a batch")
}

fn gradients(model: &Toy) -> Parameters {
    trainable_parameters(model).into_iter().map(|(name, parameter)| (name, parameter.grad())).collect()
}

/// Sums of `n` terms in f32, in another order: each gradient element is a sum over the tokens, and the terms are of the size
/// of the largest gradient or below `1`.
fn assert_close(one: &Parameters, other: &Parameters, terms: usize) {
    assert_eq!(one.keys().collect::<Vec<_>>(), other.keys().collect::<Vec<_>>());
    for (name, gradient) in one {
        let difference = (gradient - &other[name]).abs().max().double_value(&[]);
        let scale = gradient.abs().max().double_value(&[]).max(1.0);
        let bound = 8.0 * (terms as f64 + HIDDEN as f64) * EPS * scale;
        assert!(difference <= bound, "{name}: {difference} > {bound}");
    }
}

/// The mean loss over whole logits, as a plain program computes it.
fn plain_mean_loss(model: &Toy, samples: &[Sample]) -> Tensor {
    let batch = batch(samples);
    let width = batch.tokens.size()[1];
    let mut targets: Vec<i64> = Vec::new();
    for sample in samples {
        targets.extend(sample.targets());
        targets.resize(targets.len().next_multiple_of(usize::try_from(width).unwrap()), IGNORED);
    }
    let hidden = model.hidden_states(&batch.tokens, batch.segments.as_ref()).unwrap();
    let logits = model.logits(&hidden).unwrap().reshape([-1, model.vocab_size()]);
    let targets = Tensor::from_slice(&targets);
    logits.cross_entropy_loss(&targets, None::<&Tensor>, Reduction::Mean, IGNORED, 0.0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn slices_give_the_loss_and_gradients_of_the_whole(samples in samples(1..5)) {
        let tokens: usize = samples.iter().map(Sample::loss_tokens).sum();
        let whole = model();
        let loss = plain_mean_loss(&whole, &samples);
        loss.backward();
        // A vocabulary that is said to be huge makes slices of one or two positions.
        for claimed in [VOCAB, 1 << 23, 1 << 24] {
            let mut sliced = model();
            sliced.vocab_size = claimed;
            prop_assert!(claimed == VOCAB || slice_rows(claimed, Kind::Float) <= 2);
            let sum = backward(&sliced, &batch(&samples), 1.0 / tokens as f64).unwrap();
            prop_assert_eq!(sum.tokens, tokens);
            let difference = (sum.mean() - loss.double_value(&[])).abs();
            prop_assert!(difference <= 4.0 * (tokens as f64 + VOCAB as f64) * EPS * sum.mean(), "{}", difference);
            assert_close(&gradients(&whole), &gradients(&sliced), tokens);
        }
    }

    #[test]
    fn accumulated_batches_equal_one_that_is_as_large(samples in samples(2..9), parts in 2usize..5) {
        let tokens: usize = samples.iter().map(Sample::loss_tokens).sum();
        let weight = 1.0 / tokens as f64;
        let (one, accumulated) = (model(), model());
        let whole = backward(&one, &batch(&samples), weight).unwrap();
        let mut total = qtuner_train::loss::LossSum::default();
        for part in samples.chunks(samples.len().div_ceil(parts)) {
            total += backward(&accumulated, &batch(part), weight).unwrap();
        }
        prop_assert_eq!(whole.tokens, total.tokens);
        prop_assert!((whole.sum - total.sum).abs() <= 4.0 * tokens as f64 * EPS * whole.sum);
        assert_close(&gradients(&one), &gradients(&accumulated), tokens);
    }

    #[test]
    fn packed_documents_have_the_loss_that_they_have_alone(samples in samples(2..6), longer in sample()) {
        let mut model = model();
        let mut loss = |samples: Vec<Sample>| {
            let found = evaluate(&mut model, &Dataset::new(samples, 0), 2, |_| ()).unwrap();
            (found.loss, found.tokens)
        };
        let alone = loss([samples.clone(), vec![longer.clone()]].concat());
        let packed = loss(vec![Sample::packed(&samples), longer]);
        prop_assert_eq!(alone.1, packed.1);
        let bound = 8.0 * (alone.1 as f64 + VOCAB as f64) * EPS * alone.0.max(1.0);
        prop_assert!((alone.0 - packed.0).abs() <= bound);
    }

    #[test]
    fn padding_changes_nothing(samples in samples(2..6)) {
        let mut model = model();
        let together = evaluate(&mut model, &Dataset::new(samples.clone(), 9), samples.len(), |_| ()).unwrap();
        let alone = evaluate(&mut model, &Dataset::new(samples.clone(), 0), 1, |_| ()).unwrap();
        let bound = 8.0 * (together.tokens as f64 + VOCAB as f64) * EPS * alone.loss.max(1.0);
        prop_assert_eq!(together.tokens, alone.tokens);
        prop_assert!((together.loss - alone.loss).abs() <= bound);
        prop_assert!((together.sample_mean_loss - alone.sample_mean_loss).abs() <= bound);
    }
}

#[test]
fn an_evaluation_weighs_tokens_or_samples() {
    let mut model = model();
    let (short, long) = (Sample::window(&[1, 2]), Sample::window(&[3, 4, 5, 6, 7]));
    let mut alone = |sample: &Sample| {
        evaluate(&mut model, &Dataset::new(vec![sample.clone()], 0), 1, |_| ()).unwrap().loss
    };
    let (of_short, of_long) = (alone(&short), alone(&long));
    let mut progress = Vec::new();
    let both =
        evaluate(&mut model, &Dataset::new(vec![short, long], 0), 1, |seen| progress.push(seen)).unwrap();
    assert!((both.loss - (of_short + 4.0 * of_long) / 5.0).abs() < 32.0 * EPS * both.loss);
    assert!((both.sample_mean_loss - f64::midpoint(of_short, of_long)).abs() < 32.0 * EPS * both.loss);
    assert_eq!((both.samples, both.tokens, progress), (2, 5, vec![1, 2]));
    assert!((both.perplexity - both.loss.exp()).abs() <= f64::EPSILON * both.perplexity);
}

#[test]
fn a_batch_that_counts_nothing_has_no_gradient() {
    let model = model();
    let batch = Batch::new(&[&Sample::window(&[1])], 0).unwrap();
    assert_eq!(backward(&model, &batch, 1.0).unwrap(), qtuner_train::loss::LossSum::default());
    assert!(gradients(&model).values().all(|gradient| !gradient.defined()));
}

#[test]
fn a_head_with_an_adapter_gets_its_gradient_slice_by_slice() {
    let config = qtuner_core::LoraConfig::new(["head"]).with_rank(2);
    let (whole, mut sliced) = (Toy::with_config(&config), Toy::with_config(&config));
    let samples = [Sample::window(&[1, 2, 3, 4, 5, 6]), Sample::window(&[7, 8, 9])];
    plain_mean_loss(&whole, &samples).backward();
    sliced.vocab_size = 1 << 24;
    backward(&sliced, &batch(&samples), 1.0 / 7.0).unwrap();
    assert_close(&gradients(&whole), &gradients(&sliced), 7);
    let norm =
        gradients(&sliced).values().map(|g| g.norm().to_kind(Kind::Double).double_value(&[])).sum::<f64>();
    assert!(norm > 0.0);
}
