//! Injection happens whole or not at all.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use qtuner_core::registry::{Claim, DispatchError, Dispatcher};
use qtuner_core::{
    AdapterState, Bias, InjectError, Injection, Layer, LoraConfig, LoraLayer, LoraLinear, LoraOptions, Mode,
    ModuleTree, Problem, Registry, Slot, dense, inject_adapter, model, source,
};
use std::cell::Cell;
use support::{CPU, Model, WIDTH, fingerprint, input, perturb, slot};
use tch::nn::OptimizerConfig;
use tch::{Kind, Tensor, nn};

fn config() -> LoraConfig {
    LoraConfig::new(["q_proj", "v_proj"]).with_rank(2).with_lora_alpha(4)
}

#[test]
fn the_targeted_layers_get_the_adapter_and_only_it_trains() {
    let mut model = Model::new(2);
    let before = model.forward(&input());
    let report = inject_adapter(&mut model, &config(), "default").unwrap();
    let paths: Vec<_> = report.layers.iter().map(|layer| layer.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "model.layers.0.self_attn.q_proj",
            "model.layers.0.self_attn.v_proj",
            "model.layers.1.self_attn.q_proj",
            "model.layers.1.self_attn.v_proj"
        ]
    );
    assert_eq!(report.trainable, 4 * 2 * (WIDTH + WIDTH));
    let dense = 6 * (WIDTH * WIDTH + WIDTH) + 10 * WIDTH + 10;
    assert_eq!(report.total, report.trainable + dense + 10 * WIDTH);
    assert_eq!(model.forward(&input()), before);
    let leaves = model.collect_leaves();
    for (_, tensor) in &leaves.parameters {
        assert!(!tensor.requires_grad());
    }
    for (_, slot) in &leaves.slots {
        for (name, tensor) in slot.layer().named_tensors() {
            assert!(!tensor.requires_grad(), "{name}");
        }
    }
}

#[test]
fn an_optimizer_of_tch_trains_the_adapter() {
    let mut model = Model::new(2);
    let report = inject_adapter(&mut model, &config(), "default").unwrap();
    let store = report.var_store();
    assert!(store.variables().contains_key("model.layers.0.self_attn.q_proj.lora_A.default.weight"));
    let mut optimizer = nn::AdamW::default().build(&store, 1e-2).unwrap();
    let target = Tensor::ones([3, 10], CPU);
    let losses: Vec<f64> = (0..20)
        .map(|_| {
            let loss = (model.forward(&input()) - &target).square().mean(Kind::Float);
            optimizer.backward_step(&loss);
            loss.double_value(&[])
        })
        .collect();
    assert!(losses[19] < losses[0], "{losses:?}");
}

#[test]
fn an_optimizer_of_tch_trains_the_biases_that_train_along() {
    for (bias, counted) in [(Bias::LoraOnly, 4 * WIDTH), (Bias::All, 6 * WIDTH + 10)] {
        let mut model = Model::new(2);
        let report = inject_adapter(&mut model, &config().with_bias(bias), "default").unwrap();
        assert_eq!(report.trainable, 4 * 2 * (WIDTH + WIDTH) + counted);
        let bias = model.layers[0].self_attn.q_proj.layer().bias().unwrap();
        let before = bias.copy();
        let mut optimizer = nn::AdamW::default().build(&report.var_store(), 1e-2).unwrap();
        optimizer.backward_step(&model.forward(&input()).square().mean(Kind::Float));
        assert_ne!(bias, before);
        let names = report.var_store().variables();
        assert!(names.contains_key("model.layers.0.self_attn.q_proj.bias"), "{:?}", names.keys());
    }
}

#[test]
fn an_optimizer_trains_an_adapter_that_came_after_another_was_deleted() {
    let mut model = Model::new(1);
    let report = inject_adapter(&mut model, &config(), "first").unwrap();
    let mut optimizer = nn::AdamW::default().build(&report.var_store(), 1e-2).unwrap();
    let mut step =
        |model: &Model| optimizer.backward_step(&model.forward(&input()).square().mean(Kind::Float));
    step(&model);
    model::delete_adapter(&mut model, "first").unwrap();
    inject_adapter(&mut model, &config(), "second").unwrap();
    model::set_adapter(&mut model, &["second"]).unwrap();
    let b =
        model.layers[0].self_attn.q_proj.layer().as_lora().unwrap().lora_b("second").unwrap().shallow_clone();
    assert_eq!(b, b.zeros_like());
    step(&model);
    assert!(b.abs().max().double_value(&[]) > 0.0);
}

/// A model that says which of its slots is the head.
#[derive(ModuleTree)]
struct Marked {
    up: Slot,
    #[module(head)]
    unembed: Slot,
}

#[test]
fn all_linear_takes_every_slot_but_the_head() {
    let mut model = Model::new(1);
    let report = inject_adapter(&mut model, &LoraConfig::new("all-linear").with_rank(2), "default").unwrap();
    let names: Vec<_> = report.layers.iter().map(|layer| layer.path.rsplit('.').next().unwrap()).collect();
    assert_eq!(names, ["q_proj", "v_proj", "up_proj"]);

    let mut marked = Marked { up: slot(8, 8), unembed: slot(8, 8) };
    let report = inject_adapter(&mut marked, &LoraConfig::new("all-linear").with_rank(2), "default").unwrap();
    assert_eq!(report.layers.len(), 1);
    assert_eq!(report.layers[0].path, "up");
}

#[test]
fn a_second_adapter_waits_until_it_is_set() {
    let mut model = Model::new(1);
    inject_adapter(&mut model, &config(), "default").unwrap();
    perturb(&mut model, "default", 0.5);
    let with_first = model.forward(&input());
    let second = LoraConfig::new(["q_proj", "up_proj"]).with_rank(3);
    let report = inject_adapter(&mut model, &second, "second").unwrap();
    assert_eq!(report.layers.len(), 2);
    assert_eq!(report.trainable, 2 * 2 * (WIDTH + WIDTH), "the first still trains, the second does not");
    assert_eq!(model.forward(&input()), with_first);
    assert_eq!(model::adapter_names(&model), ["default", "second"]);
    assert_eq!(model::active_adapters(&model), ["default"]);
    model::set_adapter(&mut model, &["second"]).unwrap();
    assert_eq!(model::count_parameters(&model).0, 2 * 3 * (WIDTH + WIDTH));
    assert_eq!(model.layers[0].up_proj.layer().kind_name(), "lora.Linear");
}

#[test]
fn the_first_adapter_after_all_were_deleted_is_active_everywhere() {
    let mut model = Model::new(1);
    inject_adapter(&mut model, &config(), "old").unwrap();
    model::delete_adapter(&mut model, "old").unwrap();
    let report =
        inject_adapter(&mut model, &LoraConfig::new(["q_proj", "up_proj"]).with_rank(1), "new").unwrap();
    assert_eq!(report.trainable, 2 * (WIDTH + WIDTH));
    let leaves = model.collect_leaves();
    let tuners: Vec<_> = leaves.slots.iter().filter_map(|(_, slot)| slot.layer().as_tuner()).collect();
    assert_eq!(tuners.len(), 3);
    assert!(tuners.iter().all(|tuner| tuner.active_adapters() == ["new"]));
}

#[test]
fn new_layers_join_the_model_as_it_is() {
    let mut model = Model::new(1);
    inject_adapter(&mut model, &config().with_bias(Bias::LoraOnly), "first").unwrap();
    model::disable_adapters(&mut model).unwrap();
    model::set_mode(&mut model, Mode::Eval);
    inject_adapter(&mut model, &LoraConfig::new(["up_proj"]).with_rank(1), "second").unwrap();
    let up_proj = model.layers[0].up_proj.layer().as_tuner().unwrap();
    assert_eq!((up_proj.adapter_state(), up_proj.mode()), (AdapterState::Disabled, Mode::Eval));
    assert_eq!(up_proj.active_adapters(), ["first"]);
    let trains = |slot: &Slot| slot.layer().bias().unwrap().requires_grad();
    assert!(trains(&model.layers[0].self_attn.q_proj), "the first adapter's biases go on training");
    assert!(!trains(&model.layers[0].up_proj));
}

#[test]
fn ranks_and_alphas_follow_their_patterns() {
    let mut model = Model::new(2);
    let mut config = LoraConfig::new(["q_proj", "v_proj"])
        .with_rank(4)
        .with_rank_pattern([(r"layers\.1\..*", 2)])
        .with_alpha_pattern([("v_proj", 16)]);
    config.use_rslora = true;
    let report = inject_adapter(&mut model, &config, "default").unwrap();
    let found: Vec<_> = report.layers.iter().map(|layer| (layer.rank, layer.scaling)).collect();
    assert_eq!(found, [(4, 4.0), (4, 8.0), (2, 8.0 / 2f64.sqrt()), (2, 16.0 / 2f64.sqrt())]);
}

#[test]
fn biases_train_as_the_config_says() {
    let trained = |bias| {
        let mut model = Model::new(1);
        inject_adapter(&mut model, &config().with_bias(bias), "default").unwrap();
        let leaves = model.collect_leaves();
        let names = leaves.slots.iter().filter(|(_, slot)| slot.layer().bias().unwrap().requires_grad());
        names.map(|(path, _)| path.to_string()).collect::<Vec<_>>()
    };
    let adapted = ["model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.v_proj"];
    assert!(trained(Bias::None).is_empty());
    assert_eq!(trained(Bias::LoraOnly), adapted);
    assert_eq!(trained(Bias::All), [adapted[0], adapted[1], "model.layers.0.up_proj", "lm_head"]);

    let mut model = Model::new(1);
    inject_adapter(&mut model, &config().with_bias(Bias::LoraOnly), "default").unwrap();
    let error = inject_adapter(&mut model, &config().with_bias(Bias::All), "second").unwrap_err();
    assert!(matches!(error, InjectError::SecondBias { .. }), "{error}");
}

/// At which call of the backend a failure is made, and which kind.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    Claim,
    Check,
    Wrap,
    PanicInClaim,
    PanicInCheck,
    PanicInWrap,
}

thread_local! {
    static FAULT: Cell<Option<(Fault, usize)>> = const { Cell::new(None) };
}

/// Whether the fault is due: it counts down over the calls of its kind.
fn due(fault: Fault) -> bool {
    FAULT.with(|cell| match cell.get() {
        Some((kind, left)) if kind == fault => {
            cell.set(Some((kind, left.wrapping_sub(1))));
            left == 0
        }
        _ => false,
    })
}

fn claims(layer: &dyn Layer) -> Claim {
    assert!(!due(Fault::PanicInClaim), "made to panic");
    if due(Fault::Claim) {
        Claim::Almost("made to decline".to_owned())
    } else {
        dense::DISPATCHER.claims(layer)
    }
}

fn check(_: &dyn Layer, _: &LoraOptions) -> Result<(), DispatchError> {
    assert!(!due(Fault::PanicInCheck), "made to panic");
    if due(Fault::Check) { Err(refusal()) } else { Ok(()) }
}

fn wrap(layer: &dyn Layer, name: &str, options: &LoraOptions) -> Result<Box<dyn LoraLayer>, DispatchError> {
    assert!(!due(Fault::PanicInWrap), "made to panic");
    let wrapper = LoraLinear::new(layer.shallow_clone(), name, options.clone())?;
    if due(Fault::Wrap) { Err(refusal()) } else { Ok(Box::new(wrapper)) }
}

fn refusal() -> DispatchError {
    let (option, hint) = ("made to fail".to_owned(), "none".to_owned());
    DispatchError::UnsupportedOption { backend: "faulty", option, hint }
}

#[test]
fn a_failure_at_any_step_leaves_the_model_bit_for_bit_unchanged() {
    let registry = Registry::new([Dispatcher::new("faulty", source!(), claims, check, wrap)]).unwrap();
    let injection = Injection::new().registry(&registry);
    let faults = [
        Fault::Claim,
        Fault::Check,
        Fault::Wrap,
        Fault::PanicInClaim,
        Fault::PanicInCheck,
        Fault::PanicInWrap,
    ];
    std::panic::set_hook(Box::new(|_| {}));
    let outcome = std::panic::catch_unwind(|| {
        for second in [false, true] {
            for fault in faults {
                let mut failures = 0;
                for step in 0.. {
                    FAULT.set(None);
                    let mut model = Model::new(2);
                    if second {
                        injection
                            .inject(&mut model, &LoraConfig::new(["up_proj"]).with_rank(1), "first")
                            .unwrap();
                    }
                    // Walking the model names its slots; that is no change of the model.
                    let _ = model.collect_leaves_mut();
                    let before = fingerprint(&model);
                    FAULT.set(Some((fault, step)));
                    match injection.inject(&mut model, &config(), "default") {
                        Err(error) => {
                            assert!(matches!(error, InjectError::Layers { .. }), "{error}");
                            assert_eq!(fingerprint(&model), before, "step {step}");
                            failures += 1;
                        }
                        Ok(_) => break,
                    }
                    assert!(step < 100);
                }
                assert!(failures >= 4, "each of the four layers is a step");
            }
        }
    });
    let _ = std::panic::take_hook();
    outcome.unwrap_or_else(|payload| std::panic::resume_unwind(payload));
}

#[test]
fn a_config_that_cannot_be_used_leaves_the_model_bit_for_bit_unchanged() {
    let mut model = Model::new(2);
    inject_adapter(&mut model, &config(), "default").unwrap();
    let mut dora = config();
    dora.use_dora = true;
    let mut to_save = config();
    to_save.modules_to_save = Some(vec!["lm_head".to_owned()]);
    let cases: Vec<(LoraConfig, &str, &str)> = vec![
        (LoraConfig::new("(".to_owned().as_str()), "x", "regular expression"),
        (LoraConfig::new(["k_proj"]), "x", "k_proj"),
        (config().with_exclude_modules([r"q_proj", "v_proj"]), "x", "exclude"),
        (config().with_rank(0), "x", "rank"),
        (
            config().with_rank_pattern([(r".*layers\.1\.self_attn\.v_proj", -3)]),
            "x",
            "layers.1.self_attn.v_proj",
        ),
        (config().with_rank(1 << 50), "x", "q_proj"),
        (dora, "x", "use_dora"),
        (to_save, "x", "modules_to_save"),
        (LoraConfig::new(["embed_tokens"]), "x", "not a linear layer"),
        (config(), "default", "already exists"),
        (config(), "a.b", "without dots"),
        (config(), "", "without dots"),
    ];
    for (config, name, expected) in cases {
        let before = fingerprint(&model);
        let error = inject_adapter(&mut model, &config, name).unwrap_err().to_string();
        assert!(error.to_lowercase().contains(&expected.to_lowercase()), "{error}, expected {expected}");
        assert_eq!(fingerprint(&model), before, "{error}");
    }
}

#[test]
fn all_problems_are_listed_at_once() {
    let mut model = Model::new(2);
    let error = inject_adapter(&mut model, &config().with_rank(0), "default").unwrap_err();
    let InjectError::Layers { problems } = &error else { panic!("{error}") };
    assert_eq!(problems.len(), 4);
    assert!(problems.iter().all(|problem| matches!(problem, Problem::Config(_))));
}

#[test]
fn a_parameter_that_is_no_leaf_is_refused() {
    let mut model = Model::new(1);
    model.embed_tokens = &model.embed_tokens * 2.0;
    let error = inject_adapter(&mut model, &config(), "default").unwrap_err().to_string();
    assert!(error.contains("`model.embed_tokens.weight` is computed from other tensors"), "{error}");
}

#[test]
fn the_report_is_a_table_that_a_person_reads() {
    let mut model = Model::new(1);
    let config = config().with_exclude_modules(["v_proj"]).with_rank_pattern([("k_proj", 3)]);
    let report = inject_adapter(&mut model, &config, "default").unwrap();
    insta::assert_snapshot!(report.to_string(), @r#"
    adapter "default" on 1 layer
      layer                            base    backend  in  out  r  scaling
      model.layers.0.self_attn.q_proj  Linear  linear    8    8  2        2
    excluded: model.layers.0.self_attn.v_proj
    target_modules that hit nothing: v_proj
    rank_pattern keys that hit nothing: k_proj
    trainable params: 32 || all params: 418 || trainable%: 7.6555
    "#);
}

/// A layer whose backend has no backward, as inference kernels have none.
#[derive(Debug)]
struct NoBackward(qtuner_core::Linear);

impl Layer for NoBackward {
    fn forward(&self, x: &Tensor) -> Result<Tensor, qtuner_core::LayerError> {
        self.0.forward(&x.detach())
    }

    fn in_features(&self) -> i64 {
        self.0.in_features()
    }

    fn out_features(&self) -> i64 {
        self.0.out_features()
    }

    fn kind_name(&self) -> &'static str {
        "NoBackward"
    }

    fn device(&self) -> tch::Device {
        self.0.device()
    }

    fn named_tensors(&self) -> Vec<(&'static str, Tensor)> {
        self.0.named_tensors()
    }

    fn shallow_clone(&self) -> Box<dyn Layer> {
        self.0.shallow_clone()
    }

    fn as_quantized(&self) -> Option<&dyn qtuner_core::QuantBackend> {
        Some(self)
    }
}

impl qtuner_core::QuantBackend for NoBackward {
    fn format(&self) -> &'static str {
        "inference-only"
    }

    fn package(&self) -> qtuner_core::Package {
        qtuner_core::Package { name: "inference-only".to_owned(), version: "1.0.0".parse().unwrap() }
    }

    fn dequantize(&self, kind: Kind) -> Result<Tensor, qtuner_core::LayerError> {
        Ok(self.0.weight().to_kind(kind))
    }

    fn qweight(&self) -> Tensor {
        self.0.weight().shallow_clone()
    }

    fn capabilities(&self) -> qtuner_core::Capabilities {
        let mut capabilities = qtuner_core::Capabilities::new(1);
        capabilities.grad_input = qtuner_core::Support::No;
        capabilities
    }
}

#[test]
fn a_layer_that_cuts_the_gradient_off_is_named_and_nothing_is_injected() {
    let mut model = Model::new(1);
    let weight = Tensor::ones([WIDTH, WIDTH], CPU);
    model.layers[0].up_proj = Slot::from(NoBackward(qtuner_core::Linear::new(weight, None).unwrap()));
    let _ = model.collect_leaves_mut();
    let before = fingerprint(&model);
    let error = inject_adapter(&mut model, &config(), "default").unwrap_err().to_string();
    assert!(error.contains("`model.layers.0.up_proj`") && error.contains("passes no gradient"), "{error}");
    assert_eq!(fingerprint(&model), before);
}
