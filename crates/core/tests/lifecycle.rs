//! Adding, switching, scaling, merging and deleting adapters over a whole model.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use qtuner_core::BaseTunerLayer;
use qtuner_core::{
    AdapterState, Layer, Linear, LoraConfig, LoraLayer, LoraLinear, LoraOptions, MergeCheck, Mode,
    ModuleTree, TunerError, inject_adapter, model,
};
use support::{CPU, Model, fingerprint, input, perturb};
use tch::{Kind, Tensor};

/// A model with adapters `a` (q, v) and `b` (v, up), both of weight.
fn adapted() -> Model {
    let mut model = Model::new(2);
    inject_adapter(&mut model, &LoraConfig::new(["q_proj", "v_proj"]).with_rank(2).with_lora_alpha(3), "a")
        .unwrap();
    inject_adapter(&mut model, &LoraConfig::new(["v_proj", "up_proj"]).with_rank(3), "b").unwrap();
    perturb(&mut model, "a", 0.5);
    perturb(&mut model, "b", 0.5);
    model
}

fn close(left: &Tensor, right: &Tensor) -> bool {
    left.allclose(right, 1e-5, 1e-5, false)
}

/// The output with only `names` active.
fn with(model: &mut Model, names: &[&str]) -> Tensor {
    model::set_adapter(model, names).unwrap();
    model.forward(&input())
}

#[test]
fn several_active_adapters_add_on_a_layer() {
    let weight = Tensor::randn([6, 4], CPU);
    let x = Tensor::randn([5, 4], CPU);
    let base = Linear::new(weight, None).unwrap();
    let y = base.forward(&x).unwrap();
    let options = || LoraOptions::default().with_rank(2).with_init(qtuner_core::InitLoraWeights::False);
    let mut lora = LoraLinear::new(Box::new(base), "a", options()).unwrap();
    lora.update_layer("b", options().with_alpha(5.0)).unwrap();
    let mut of = |names: &[&str]| {
        lora.set_adapter(names).unwrap();
        lora.forward(&x).unwrap() - &y
    };
    let (a, b, both, reversed) = (of(&["a"]), of(&["b"]), of(&["a", "b"]), of(&["b", "a"]));
    assert!(close(&both, &(&a + &b)) && close(&both, &reversed));
    assert!(!close(&a, &Tensor::zeros_like(&a)));
    assert_eq!(of(&["unknown"]), Tensor::zeros_like(&y));
    assert_eq!(of(&["a", "a"]), a, "a name twice is the adapter once");
}

#[test]
fn gradients_of_several_active_adapters_are_those_of_the_sum() {
    for kind in [Kind::Float, Kind::BFloat16] {
        let base = Linear::new(Tensor::randn([6, 4], CPU).to_kind(kind), None).unwrap();
        let weight = base.named_tensors().remove(0).1;
        let options = || LoraOptions::default().with_rank(2).with_init(qtuner_core::InitLoraWeights::False);
        let mut lora = LoraLinear::new(Box::new(base), "a", options()).unwrap();
        lora.update_layer("b", options().with_alpha(5.0)).unwrap();
        lora.set_adapter(&["a", "b"]).unwrap();
        let x = Tensor::randn([2, 3, 4], CPU).to_kind(kind).set_requires_grad(true);
        let factors = |name| [lora.lora_a(name).unwrap(), lora.lora_b(name).unwrap()];
        let update = |name| {
            let [a, b] = factors(name);
            let wide = x.to_kind(Kind::Float).linear(a, None::<&Tensor>).linear(b, None::<&Tensor>);
            (wide * lora.scaling(name).unwrap()).to_kind(kind)
        };
        let expected = x.linear(&weight, None::<&Tensor>) + update("a") + update("b");
        let y = lora.forward(&x).unwrap();
        let leaves: Vec<&Tensor> = std::iter::once(&x).chain(factors("a")).chain(factors("b")).collect();
        let gradients =
            |y: &Tensor| Tensor::run_backward(&[y.square().sum(Kind::Float)], &leaves, false, false);
        // Each result is rounded a few times, in one order or the other.
        let tolerance = if kind == Kind::Float { 1e-5 } else { 0.05 };
        for (found, expected) in gradients(&y).iter().zip(gradients(&expected)) {
            let scale = expected.abs().max().double_value(&[]);
            assert!(found.allclose(&expected, 0.0, tolerance * scale, false), "{kind:?}");
        }
    }
}

#[test]
fn disabled_adapters_leave_the_base_and_do_not_train() {
    let mut model = adapted();
    let base = Model::new(2).forward(&input());
    let y = model.forward(&input());
    assert!(!close(&y, &base));
    model::disable_adapters(&mut model).unwrap();
    assert_eq!(model.forward(&input()), base);
    assert_eq!(model::count_parameters(&model).0, 0);
    model::enable_adapters(&mut model).unwrap();
    assert_eq!(model.forward(&input()), y);
    assert_eq!(model::count_parameters(&model).0, 4 * 2 * 16);
}

#[test]
fn only_the_active_adapters_train() {
    let mut model = adapted();
    let trained = |model: &Model| {
        let variables = model::var_store(model).unwrap().variables();
        let mut names: Vec<_> = variables.into_iter().filter(|(_, tensor)| tensor.requires_grad()).collect();
        names.sort_by(|left, right| left.0.cmp(&right.0));
        names.into_iter().map(|(name, _)| name.split('.').nth_back(1).unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert!(trained(&model).iter().all(|name| name == "a"));
    model::set_adapter(&mut model, &["a", "b"]).unwrap();
    assert_eq!(trained(&model).iter().filter(|name| *name == "b").count(), 8);
    let error = model::set_adapter(&mut model, &["a", "c"]).unwrap_err();
    assert!(matches!(error, TunerError::UnknownAdapter { .. }), "{error}");
    assert_eq!(model::active_adapters(&model), ["a", "b"]);
}

#[test]
fn deleting_the_active_adapter_activates_the_alphabetically_first_that_remains() {
    let mut model = adapted();
    inject_adapter(&mut model, &LoraConfig::new(["q_proj"]).with_rank(1), "aa").unwrap();
    model::set_adapter(&mut model, &["b"]).unwrap();
    assert_eq!(model::delete_adapter(&mut model, "b").unwrap().as_deref(), Some("a"));
    assert_eq!(model::active_adapters(&model), ["a"]);
    assert_eq!(model::delete_adapter(&mut model, "aa").unwrap(), None);
    assert!(model::var_store(&model).unwrap().variables().keys().all(|name| name.contains(".a.")));
    assert_eq!(model::delete_adapter(&mut model, "a").unwrap(), None);
    assert!(model::adapter_names(&model).is_empty() && model::active_adapters(&model).is_empty());
    assert!(model::var_store(&model).unwrap().is_empty());
    assert_eq!(model.forward(&input()), Model::new(2).forward(&input()));
    let error = model::delete_adapter(&mut model, "a").unwrap_err();
    assert!(matches!(error, TunerError::UnknownAdapter { .. }), "{error}");
}

#[test]
fn scaling_acts_on_the_adapter_alone_and_comes_back() {
    let mut layer = LoraLinear::new(
        Box::new(Linear::new(Tensor::randn([6, 4], CPU), None).unwrap()),
        "a",
        LoraOptions::default().with_rank(16).with_alpha(3.0),
    )
    .unwrap();
    layer.update_layer("b", LoraOptions::default().with_rank(4).with_alpha(4.0)).unwrap();
    assert_eq!(layer.scaling("a"), Some(0.1875));
    layer.set_scale("a", 2.0).unwrap();
    assert_eq!((layer.scaling("a"), layer.scaling("b")), (Some(0.375), Some(1.0)));
    layer.set_scale("unknown", 2.0).unwrap();
    layer.scale_layer(4.0).unwrap();
    assert_eq!((layer.scaling("a"), layer.scaling("b")), (Some(1.5), Some(1.0)), "b is not active");
    layer.unscale_layer(Some(2.0)).unwrap();
    assert_eq!(layer.scaling("a"), Some(0.75));
    layer.unscale_layer(None).unwrap();
    assert_eq!(layer.scaling("a"), Some(0.1875));
    for wrong in [f64::NAN, f64::INFINITY] {
        assert!(matches!(layer.set_scale("a", wrong), Err(TunerError::Scale { .. })));
    }
    assert!(matches!(layer.unscale_layer(Some(0.0)), Err(TunerError::Scale { .. })));
    assert_eq!(layer.scaling("a"), Some(0.1875));
}

#[test]
fn a_scale_for_a_while_is_put_back_even_after_a_panic() {
    let mut model = adapted();
    let before = model.forward(&input());
    let inside = model::with_adapter_scale(&mut model, 0.0, |model| model.forward(&input())).unwrap();
    assert!(close(&inside, &Model::new(2).forward(&input())));
    assert_eq!(model.forward(&input()), before);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = model::with_adapter_scale(&mut model, 3.0, |_| panic!("on purpose"));
    }));
    assert!(panicked.is_err());
    assert_eq!(model.forward(&input()), before);
}

#[test]
fn merging_changes_nothing_and_unmerging_restores_every_bit() {
    let mut model = adapted();
    model::set_adapter(&mut model, &["a", "b"]).unwrap();
    let y = model.forward(&input());
    let before = fingerprint(&model);
    for check in [MergeCheck::Unchecked, MergeCheck::Finite] {
        model::merge_adapter(&mut model, None, check).unwrap();
        assert!(close(&model.forward(&input()), &y));
        model::merge_adapter(&mut model, None, check).unwrap();
        assert!(close(&model.forward(&input()), &y), "merging twice adds once");
        model::unmerge_adapter(&mut model);
        assert_eq!(fingerprint(&model), before);
    }
}

#[test]
fn a_partial_merge_keeps_the_other_active_adapters() {
    let mut model = adapted();
    let y = with(&mut model, &["a", "b"]);
    model::merge_adapter(&mut model, Some(&["a"]), MergeCheck::Finite).unwrap();
    assert!(close(&model.forward(&input()), &y));
    model::merge_adapter(&mut model, Some(&["b"]), MergeCheck::Finite).unwrap();
    assert!(close(&model.forward(&input()), &y));
    model::disable_adapters(&mut model).unwrap();
    assert_eq!(
        model.forward(&input()),
        Model::new(2).forward(&input()),
        "disabled is the base, merged or not"
    );
}

#[test]
fn merged_adapters_are_not_deleted_or_scaled_and_setting_unmerges() {
    let mut model = adapted();
    let only_b = with(&mut model, &["b"]);
    let _ = with(&mut model, &["a"]);
    model::merge_adapter(&mut model, None, MergeCheck::Unchecked).unwrap();
    assert!(matches!(model::delete_adapter(&mut model, "a"), Err(TunerError::Merged { .. })));
    assert!(matches!(model::set_scale(&mut model, "a", 2.0), Err(TunerError::Merged { .. })));
    assert!(close(&with(&mut model, &["b"]), &only_b));
}

#[test]
fn a_broken_adapter_is_named_and_nothing_is_merged() {
    for value in [f64::NAN, f64::INFINITY] {
        let mut model = adapted();
        let leaves = model.collect_leaves();
        let (_, last) =
            leaves.slots.iter().rev().find(|(path, _)| path.as_str().ends_with("v_proj")).unwrap();
        let broken = last.layer().as_lora().unwrap().lora_b("a").unwrap().shallow_clone();
        drop(leaves);
        let _ = tch::no_grad(|| broken.get(0).fill_(value));
        let before = fingerprint(&model);
        let error = model::merge_adapter(&mut model, Some(&["a"]), MergeCheck::Finite).unwrap_err();
        assert!(matches!(&error, TunerError::NotFinite { adapter, .. } if adapter == "a"), "{error}");
        assert!(error.to_string().contains("model.layers.1.self_attn.v_proj"), "{error}");
        assert_eq!(fingerprint(&model), before);
    }
}

#[test]
fn unloading_gives_plain_layers_with_the_merged_weights() {
    let mut model = adapted();
    let y = with(&mut model, &["a", "b"]);
    model::merge_and_unload(&mut model, None, MergeCheck::Finite).unwrap();
    assert!(
        model.collect_leaves().slots.iter().all(|(_, slot)| slot.layer().downcast_ref::<Linear>().is_some())
    );
    assert!(close(&model.forward(&input()), &y));

    let mut model = adapted();
    model::unload(&mut model);
    assert_eq!(model.forward(&input()), Model::new(2).forward(&input()));
    assert!(inject_adapter(&mut model, &LoraConfig::new("all-linear").with_rank(1), "a").is_ok());
}

#[test]
fn dropout_acts_in_training_mode_alone() {
    let mut model = Model::new(1);
    inject_adapter(&mut model, &LoraConfig::new(["up_proj"]).with_rank(4).with_lora_dropout(0.5), "a")
        .unwrap();
    perturb(&mut model, "a", 0.5);
    let train = model.layers[0].up_proj.layer().as_tuner().unwrap().mode();
    assert_eq!(train, Mode::Train);
    assert_ne!(model.forward(&input()), model.forward(&input()));
    model::set_mode(&mut model, Mode::Eval);
    assert_eq!(model.forward(&input()), model.forward(&input()));
}

#[test]
fn half_precision_bases_carry_f32_adapters_that_round_once() {
    for kind in [Kind::BFloat16, Kind::Half] {
        let weight = Tensor::randn([6, 4], CPU).to_kind(kind);
        let x = Tensor::randn([5, 4], CPU).to_kind(kind);
        let base = Linear::new(weight, None).unwrap();
        let y = base.forward(&x).unwrap();
        let options = LoraOptions::default().with_rank(2).with_alpha(3.0);
        let options = options.with_init(qtuner_core::InitLoraWeights::False);
        let lora = LoraLinear::new(Box::new(base), "a", options).unwrap();
        let (a, b) = (lora.lora_a("a").unwrap(), lora.lora_b("a").unwrap());
        assert_eq!((a.kind(), b.kind()), (Kind::Float, Kind::Float));
        let update = x.to_kind(Kind::Float).linear(a, None::<&Tensor>).linear(b, None::<&Tensor>) * 1.5;
        assert_eq!(lora.forward(&x).unwrap(), y + update.to_kind(kind));
        assert_eq!(lora.adapter_state(), AdapterState::Enabled);
    }
}

#[test]
fn a_bias_of_b_adds_scaled_and_merges_where_the_base_has_one() {
    let options = || {
        let mut options = LoraOptions::default().with_rank(2).with_alpha(4.0);
        options.lora_bias = true;
        options.with_init(qtuner_core::InitLoraWeights::False)
    };
    let x = Tensor::randn([5, 4], CPU);
    let (weight, bias) = (Tensor::randn([6, 4], CPU), Tensor::randn([6], CPU));
    let base = Linear::new(weight.shallow_clone(), Some(bias)).unwrap();
    let mut lora = LoraLinear::new(Box::new(base), "a", options()).unwrap();
    let y = lora.forward(&x).unwrap();
    lora.merge(&["a"], MergeCheck::Finite).unwrap();
    assert!(close(&lora.forward(&x).unwrap(), &y));

    let mut lora = LoraLinear::new(Box::new(Linear::new(weight, None).unwrap()), "a", options()).unwrap();
    let error = lora.merge(&["a"], MergeCheck::Unchecked).unwrap_err();
    assert!(matches!(error, TunerError::MergeUnsupported { .. }), "{error}");
}

#[test]
fn dora_is_refused_by_name() {
    let mut options = LoraOptions::default().with_rank(2);
    options.use_dora = true;
    let base = Linear::new(Tensor::randn([6, 4], CPU), None).unwrap();
    let error = LoraLinear::new(Box::new(base), "a", options).unwrap_err();
    assert!(error.to_string().contains("use_dora"), "{error}");
}

#[test]
fn resetting_draws_in_place_so_that_an_optimizer_keeps_its_handles() {
    let base = Linear::new(Tensor::randn([6, 4], CPU), None).unwrap();
    let options = LoraOptions::default().with_rank(2).with_init(qtuner_core::InitLoraWeights::False);
    let mut lora = LoraLinear::new(Box::new(base), "a", options).unwrap();
    let address = lora.lora_a("a").unwrap().data_ptr();
    lora.reset_lora_parameters("a", &qtuner_core::InitLoraWeights::True).unwrap();
    assert_eq!(lora.lora_a("a").unwrap().data_ptr(), address);
    assert_eq!(lora.lora_b("a").unwrap(), &Tensor::zeros([6, 2], CPU));
    assert!(lora.lora_a("a").unwrap().requires_grad());
}
