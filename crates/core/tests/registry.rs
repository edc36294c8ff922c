//! The registry: order, duplicates, ambiguity, and errors that say what is linked.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use qtuner_core::registry::{Claim, DispatchError, Dispatcher, RegistryError};
use qtuner_core::{Layer, Linear, LoraLayer, LoraOptions, Registry, dense, source};
use tch::{Device, Kind, Tensor};

fn layer() -> Linear {
    Linear::new(Tensor::ones([4, 4], (Kind::Float, Device::Cpu)), None).unwrap()
}

fn options() -> LoraOptions {
    LoraOptions::default().with_rank(2)
}

fn yes(_: &dyn Layer) -> Claim {
    Claim::Yes
}

fn no(_: &dyn Layer) -> Claim {
    Claim::No
}

fn almost(_: &dyn Layer) -> Claim {
    Claim::Almost("it has 3 bits, expected 4".to_owned())
}

fn panics(_: &dyn Layer) -> Claim {
    panic!("a broken backend")
}

#[allow(clippy::unnecessary_wraps, reason = "the signature is the registry's")]
fn check(_: &dyn Layer, _: &LoraOptions) -> Result<(), DispatchError> {
    Ok(())
}

fn wrap(layer: &dyn Layer, name: &str, options: &LoraOptions) -> Result<Box<dyn LoraLayer>, DispatchError> {
    dense::DISPATCHER.wrap(layer, name, options)
}

const fn entry(name: &'static str, claims: fn(&dyn Layer) -> Claim) -> Dispatcher {
    Dispatcher::new(name, source!(), claims, check, wrap)
}

#[test]
fn entries_are_sorted_by_priority_and_then_by_name() {
    let entries = [entry("b", no), entry("z", no).with_priority(3), entry("a", no), dense::DISPATCHER];
    let names = |registry: &Registry| registry.dispatchers().iter().map(Dispatcher::name).collect::<Vec<_>>();
    let sorted = names(&Registry::new(entries).unwrap());
    assert_eq!(sorted, ["z", "a", "b", "linear"]);
    assert_eq!(names(&Registry::new(entries.into_iter().rev()).unwrap()), sorted);
}

#[test]
fn two_entries_of_one_name_are_an_error_that_names_both_places() {
    let error = Registry::new([entry("a", no), entry("a", no).with_priority(1)]).unwrap_err();
    assert!(matches!(error, RegistryError::DuplicateName { name: "a", .. }));
    assert_eq!(error.to_string().matches("registry.rs:").count(), 2, "{error}");
}

#[test]
fn two_claims_at_one_priority_are_an_error_and_a_higher_one_wins() {
    let registry = Registry::new([entry("a", yes), entry("b", yes)]).unwrap();
    let error = registry.dispatcher_for("up", &layer(), &options()).unwrap_err();
    assert!(matches!(error, DispatchError::Ambiguous { priority: 0, .. }), "{error}");
    assert!(error.to_string().contains("`up`") && error.to_string().contains("qtuner-core"), "{error}");

    let registry = Registry::new([entry("a", yes), entry("b", yes).with_priority(1)]).unwrap();
    assert_eq!(registry.dispatcher_for("up", &layer(), &options()).unwrap().name(), "b");
}

#[test]
fn an_unclaimed_layer_is_told_what_is_linked_and_why_each_near_miss_declined() {
    let registry =
        Registry::new([entry("other", no), entry("bits", almost), entry("broken", panics)]).unwrap();
    let error = quietly(|| registry.dispatcher_for("model.up", &layer(), &options()).unwrap_err());
    let text = error.to_string();
    for part in [
        "`model.up`: no backend takes Linear(in_features=4",
        "linked: bits, broken, other",
        "bits declined: it has 3 bits, expected 4",
        "broken declined",
        "a broken backend",
    ] {
        assert!(text.contains(part), "{text}\nlacks {part}");
    }
}

#[test]
fn one_backends_panic_does_not_touch_the_others() {
    let registry = Registry::new([entry("broken", panics).with_priority(9), dense::DISPATCHER]).unwrap();
    let wrapper = quietly(|| registry.wrap("up", &layer(), "default", &options()).unwrap());
    assert_eq!(wrapper.kind_name(), "lora.Linear");
}

#[test]
fn a_missing_backend_is_named_with_the_line_that_links_it() {
    let registry = Registry::new([dense::DISPATCHER]).unwrap();
    let error = registry.expect(&["linear", "awq"]).unwrap_err().to_string();
    assert!(error.contains("\"awq\"") && error.contains("use qtuner_awq as _;"), "{error}");
    Registry::linked().unwrap().expect(&["linear"]).unwrap();
}

#[test]
fn the_table_prints() {
    let registry = Registry::new([dense::DISPATCHER, entry("awq", no)]).unwrap();
    let text = registry.to_string();
    let names: Vec<_> = text.lines().map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(names, ["backend", "awq", "linear"]);
    assert!(text.contains("-32768") && text.contains(env!("CARGO_PKG_VERSION")), "{text}");
}

/// Without the panic's message on the terminal.
fn quietly<T>(body: impl FnOnce() -> T) -> T {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let value = body();
    std::panic::set_hook(hook);
    value
}
