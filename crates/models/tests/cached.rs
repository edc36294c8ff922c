//! What a model computes of a token depends on the tokens of its text before it, and on nothing else: not on what was
//! cached, padded, packed beside it or batched with it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use qtuner_awq as _;

mod support;

use proptest::prelude::*;
use qtuner_core::ModuleTree;
use qtuner_models::{CausalLm, GenerationOptions, KeyValueCache, ModelError, ModelInput};
use std::ops::ControlFlow;
use support::{logits, open, relative_error};
use tch::{Kind, Tensor};

const FOLDERS: [&str; 5] =
    ["llama-awq", "models/mistral", "models/llama-dynamic", "models/gemma3", "models/gemma3-capped"];

/// f32 sums in another order: some hundred roundings of 2^-24, through a few layers.
const BOUND: f64 = 2e-5;

fn folder() -> impl Strategy<Value = &'static str> {
    prop::sample::select(FOLDERS.to_vec())
}

/// Token ids that every vocabulary here has.
fn tokens(batch: i64, time: i64, seed: i64) -> Tensor {
    let options = (Kind::Int64, tch::Device::Cpu);
    ((Tensor::arange(batch * time, options) * 31 + seed) * 7).remainder(93).view([batch, time]) + 3
}

fn hidden(model: &CausalLm, tokens: &Tensor) -> Tensor {
    model.hidden_states(&ModelInput::new(tokens)).unwrap()
}

fn pieces(total: i64, cuts: &[i64]) -> Vec<(i64, i64)> {
    let mut ends: Vec<i64> = cuts.iter().map(|cut| cut % total).filter(|cut| *cut > 0).collect();
    ends.push(total);
    ends.sort_unstable();
    ends.dedup();
    let starts = std::iter::once(0).chain(ends.iter().copied());
    starts.zip(ends.iter().copied()).collect()
}

#[test]
fn logits_that_are_no_numbers_end_the_text_with_an_error() {
    let model = open("llama-awq");
    for (_, parameter) in model.collect_leaves().parameters {
        let _ = tch::no_grad(|| parameter.shallow_clone().fill_(f64::NAN));
    }
    let outcome =
        model.generate(&[vec![3, 4]], &GenerationOptions::default(), |_, _| ControlFlow::Continue(()));
    assert!(matches!(outcome, Err(ModelError::NotANumber { place: 0 })), "{outcome:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_cached_path_equals_the_uncached_one(
        folder in folder(),
        batch in 1_i64..4,
        time in 1_i64..40,
        cuts in prop::collection::vec(1_i64..40, 0..6),
        seed in 0_i64..90,
    ) {
        let (model, tokens) = (open(folder), tokens(batch, time, seed));
        let mut cache = KeyValueCache::new();
        for (start, end) in pieces(time, &cuts) {
            let piece = tokens.narrow(1, start, end - start);
            let found = model.hidden_states_cached(&ModelInput::new(&piece), &mut cache).unwrap();
            let expected = hidden(&model, &tokens.narrow(1, 0, end)).narrow(1, start, end - start);
            prop_assert_eq!(cache.len(), end);
            let error = relative_error(&found, &expected);
            prop_assert!(error < BOUND, "{} {}..{} of {}: {:e}", folder, start, end, time, error);
        }
    }

    /// Where attention is not libtorch's, which takes 64 queries, the same holds, for all of a text or behind what is cached.
    #[test]
    fn the_cached_path_equals_the_uncached_one_for_long_texts(
        folder in folder(),
        batch in 1_i64..3,
        first in 64_i64..150,
        second in 1_i64..150,
        seed in 0_i64..90,
    ) {
        let (model, tokens) = (open(folder), tokens(batch, first + second, seed));
        let mut cache = KeyValueCache::new();
        for (start, end) in [(0, first), (first, first + second)] {
            let piece = tokens.narrow(1, start, end - start);
            let found = model.hidden_states_cached(&ModelInput::new(&piece), &mut cache).unwrap();
            let expected = hidden(&model, &tokens.narrow(1, 0, end)).narrow(1, start, end - start);
            let error = relative_error(&found, &expected);
            prop_assert!(error < BOUND, "{} {}..{}: {:e}", folder, start, end, error);
        }
    }

    #[test]
    fn padding_on_the_left_changes_nothing_cached_or_not(
        folder in folder().prop_filter("one length for all rows", |folder| !folder.contains("dynamic")),
        lengths in prop::collection::vec(1_i64..20, 1..4),
        more in 1_i64..12,
        seed in 0_i64..90,
    ) {
        let model = open(folder);
        let longest = *lengths.iter().max().unwrap();
        let rows = i64::try_from(lengths.len()).unwrap();
        let all = tokens(rows, longest + more, seed);
        let segments = Tensor::ones_like(&all);
        for (row, length) in (0..).zip(&lengths) {
            let _ = segments.get(row).narrow(0, 0, longest - length).zero_();
        }
        let input = |start, length| (all.narrow(1, start, length), segments.narrow(1, start, length));
        let mut cache = KeyValueCache::new();
        let (first, first_segments) = input(0, longest);
        let prompt = ModelInput::new(&first).with_segments(&first_segments);
        let mut found = vec![model.hidden_states_cached(&prompt, &mut cache).unwrap()];
        for step in 0..more {
            let (token, segment) = input(longest + step, 1);
            let next = ModelInput::new(&token).with_segments(&segment);
            found.push(model.hidden_states_cached(&next, &mut cache).unwrap());
        }
        let cached = Tensor::cat(&found, 1);
        let whole = model.hidden_states(&ModelInput::new(&all).with_segments(&segments)).unwrap();
        prop_assert!(bool::try_from(whole.isfinite().all()).unwrap());
        for (row, length) in (0..).zip(&lengths) {
            let padding = longest - length;
            let own = |x: &Tensor| x.narrow(0, row, 1).narrow(1, padding, length + more);
            let alone = hidden(&model, &own(&all));
            for (what, found) in [("cached", &cached), ("whole", &whole)] {
                let error = relative_error(&own(found), &alone);
                prop_assert!(error < BOUND, "{} {} row {}: {:e}", folder, what, row, error);
            }
        }
    }

    #[test]
    fn texts_packed_into_a_row_do_not_see_each_other(
        folder in folder().prop_filter("one length for all rows", |folder| !folder.contains("dynamic")),
        lengths in prop::collection::vec(prop_oneof![1_i64..16, 60_i64..90], 1..4),
        padding in 0_i64..4,
        seed in 0_i64..90,
    ) {
        let model = open(folder);
        let total = lengths.iter().sum::<i64>() + padding;
        let row = tokens(1, total, seed);
        let ids = (1..).zip(&lengths).flat_map(|(id, length)| std::iter::repeat_n(id, usize::try_from(*length).unwrap()));
        let ids: Vec<i64> = ids.chain((0..padding).map(|_| 0)).collect();
        let segments = Tensor::from_slice(&ids).view([1, total]);
        let packed = model.hidden_states(&ModelInput::new(&row).with_segments(&segments)).unwrap();
        prop_assert!(bool::try_from(packed.isfinite().all()).unwrap());
        let mut start = 0;
        for length in lengths {
            let alone = hidden(&model, &row.narrow(1, start, length));
            let error = relative_error(&packed.narrow(1, start, length), &alone);
            prop_assert!(error < BOUND, "{} {}..: {:e}", folder, start, error);
            start += length;
        }
    }
}

/// Greedy decoding without a cache.
fn greedy(model: &CausalLm, prompt: &[i64], count: usize) -> Vec<i64> {
    let mut text = prompt.to_vec();
    for _ in 0..count {
        let tokens = Tensor::from_slice(&text).unsqueeze(0);
        text.push(logits(model, &tokens).select(1, -1).argmax(-1, false).int64_value(&[0]));
    }
    text.split_off(prompt.len())
}

#[test]
fn greedy_generation_is_the_argmax_of_the_uncached_path_for_every_prompt_of_a_batch() {
    let prompts = [vec![5, 9, 20, 31, 4, 77, 8], vec![6], vec![41, 40, 39, 38]];
    for folder in ["llama-awq", "models/mistral", "models/gemma3"] {
        let model = open(folder);
        let options = GenerationOptions {
            max_new_tokens: 14,
            eos_token_ids: Some(vec![]),
            ..GenerationOptions::default()
        };
        let texts = model.generate(&prompts, &options, |_, _| ControlFlow::Continue(())).unwrap();
        let expected: Vec<_> = prompts.iter().map(|prompt| greedy(&model, prompt, 14)).collect();
        assert_eq!(texts, expected, "{folder}");
        let alone = model.generate(&prompts[..1], &options, |_, _| ControlFlow::Continue(())).unwrap();
        assert_eq!(alone[0], expected[0], "{folder}");
    }
}

#[test]
fn a_text_ends_with_an_eos_token_and_a_break_ends_all() {
    let model = open("llama-awq");
    let free = greedy(&model, &[5, 9], 6);
    let options = GenerationOptions { eos_token_ids: Some(vec![free[2]]), ..GenerationOptions::default() };
    let until_eos = model.generate(&[vec![5, 9]], &options, |_, _| ControlFlow::Continue(())).unwrap();
    let first = free.iter().position(|token| *token == free[2]).unwrap();
    assert_eq!(until_eos[0], free[..=first]);

    let options = GenerationOptions { eos_token_ids: Some(vec![]), ..options };
    let mut streamed = Vec::new();
    let texts = model.generate(&[vec![5, 9]], &options, |prompt, token| {
        streamed.push((prompt, token));
        if streamed.len() == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!(texts.unwrap(), [free[..3].to_vec()]);
    assert_eq!(streamed, free[..3].iter().map(|token| (0, *token)).collect::<Vec<_>>());
}

#[test]
fn a_seed_gives_the_same_text_again_and_another_seed_another() {
    let model = open("llama-awq");
    let sampled = |seed| {
        let options = GenerationOptions {
            max_new_tokens: 24,
            temperature: 1.0,
            top_k: Some(50),
            top_p: Some(0.95),
            repetition_penalty: 1.1,
            seed,
            eos_token_ids: Some(vec![]),
        };
        model.generate(&[vec![5, 9], vec![5, 9]], &options, |_, _| ControlFlow::Continue(())).unwrap()
    };
    assert_eq!(sampled(1), sampled(1));
    assert_ne!(sampled(1), sampled(2));
    let texts = sampled(3);
    assert_ne!(texts[0], texts[1], "rows have streams of their own");
}

#[test]
fn inputs_that_do_not_fit_are_typed_errors_and_leave_the_cache_alone() {
    let model = open("llama-awq");
    let refused = |tokens: &Tensor, segments: Option<&Tensor>| {
        let mut cache = KeyValueCache::new();
        let input = ModelInput { tokens, segments };
        let cached = model.hidden_states_cached(&input, &mut cache).unwrap_err().to_string();
        assert!(cache.is_empty());
        assert_eq!(model.hidden_states(&input).unwrap_err().to_string(), cached);
        cached
    };
    let ids = |ids: &[i64]| Tensor::from_slice(ids).unsqueeze(0);
    let message = refused(&ids(&[1, 128]), None);
    assert_eq!(message, "the model's tokens is from 1 to 128, expected from 0 to 127");
    assert!(refused(&ids(&[-1]), None).contains("from -1"));
    assert!(refused(&Tensor::from_slice(&[1_i64]), None).contains("Int64 [1]"));
    assert!(refused(&ids(&[]), None).contains("not empty"));
    assert!(refused(&ids(&[1]).to_kind(Kind::Int), None).contains("Int [1, 1]"));
    assert!(refused(&ids(&[1, 2]), Some(&ids(&[1]))).contains("expected Int64 [1, 2]"));

    let mut cache = KeyValueCache::new();
    let (two, one) = (tokens(2, 3, 0), tokens(1, 1, 0));
    let _ = model.hidden_states_cached(&ModelInput::new(&two), &mut cache).unwrap();
    let error = model.hidden_states_cached(&ModelInput::new(&one), &mut cache).unwrap_err();
    assert!(error.to_string().contains("batch size 2"), "{error}");
    let next = tokens(2, 1, 0);
    let with_segments = ModelInput::new(&next).with_segments(&next);
    let error = model.hidden_states_cached(&with_segments, &mut cache).unwrap_err();
    assert!(error.to_string().contains("segments is some, expected none"), "{error}");
    assert_eq!(cache.len(), 3);
    assert!(model.logits(&Tensor::zeros([2, 64], (Kind::Float, tch::Device::Cpu))).is_err());
    for prompts in [vec![], vec![vec![]], vec![vec![500]]] {
        assert!(
            model
                .generate(&prompts, &GenerationOptions::default(), |_, _| ControlFlow::Continue(()))
                .is_err()
        );
    }
    let hot = GenerationOptions { temperature: f64::NAN, ..GenerationOptions::default() };
    assert!(model.generate(&[vec![1]], &hot, |_, _| ControlFlow::Continue(())).is_err());
}
