//! What can be done to the adapters of a model.

use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::subsequence;

/// The names of adapters.
pub(super) const NAMES: [&str; 3] = ["alpha", "beta", "gamma"];

/// One operation on a model of two layers.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Operation {
    /// Injects an adapter and gives its `B` random values.
    Add { name: &'static str, targets: Vec<&'static str>, rank: i64, alpha: i64, seed: i64 },
    /// `set_adapter`.
    Activate(Vec<&'static str>),
    /// `enable_adapters`.
    Enable,
    /// `disable_adapters`.
    Disable,
    /// `set_scale`.
    SetScale(&'static str, f64),
    /// `scale_adapters`.
    Scale(f64),
    /// `unscale_adapters`.
    Unscale(Option<f64>),
    /// `merge_adapter`; without names, of the active ones.
    Merge(Option<Vec<&'static str>>),
    /// `unmerge_adapter`.
    Unmerge,
    /// `delete_adapter`.
    Delete(&'static str),
    /// Saves an adapter into the folder of its name.
    Save(&'static str),
    /// Loads the folder `file` as the adapter `name`.
    Load { file: &'static str, name: &'static str },
}

/// Operations, the more constructive ones more often.
pub(super) fn operations() -> impl Strategy<Value = Operation> {
    let name = || prop_oneof![Just(NAMES[0]), Just(NAMES[1]), Just(NAMES[2])];
    let names = || subsequence(NAMES.to_vec(), 0..=3).prop_shuffle();
    let targets = prop_oneof![Just(vec!["left", "right"]), Just(vec!["left"]), Just(vec!["right"])];
    let scale = || prop_oneof![Just(0.5), Just(2.0), Just(-1.0), Just(3.0)];
    prop_oneof![
        6 => (name(), targets, 1i64..4, 1i64..9, any::<u8>()).prop_map(|(name, targets, rank, alpha, seed)| {
            Operation::Add { name, targets, rank, alpha, seed: i64::from(seed) }
        }),
        4 => names().prop_map(Operation::Activate),
        1 => Just(Operation::Enable),
        1 => Just(Operation::Disable),
        1 => (name(), scale()).prop_map(|(name, scale)| Operation::SetScale(name, scale)),
        1 => scale().prop_map(Operation::Scale),
        1 => proptest::option::of(scale()).prop_map(Operation::Unscale),
        2 => proptest::option::of(names()).prop_map(Operation::Merge),
        1 => Just(Operation::Unmerge),
        2 => name().prop_map(Operation::Delete),
        2 => name().prop_map(Operation::Save),
        2 => (name(), name()).prop_map(|(file, name)| Operation::Load { file, name }),
    ]
}
