//! A short list of name endings that stands for a long list of full names, as PEFT condenses it.

use std::collections::{BTreeMap, BTreeSet};

use super::error::ConfigError;

/// From this many names on PEFT condenses a list of targets.
const MIN_TARGETS: usize = 20;

/// A small set of suffixes that hits every name in `targets` and none in `others`, sorted.
///
/// Greedy and deterministic: the targets are taken in the order of their suffixes, and each one not yet
/// covered adds its shortest suffix that no other name has.
///
/// ```
/// use qtuner_core::minimal_target_modules;
///
/// let targets = ["layers.0.self_attn.q_proj", "layers.1.self_attn.q_proj", "layers.0.mlp.up"];
/// let others = ["layers.0.cross.up", "layers.0.self_attn.k_proj"];
/// assert_eq!(minimal_target_modules(&targets, &others)?, ["mlp.up", "q_proj"]);
/// # Ok::<(), qtuner_core::ConfigError>(())
/// ```
///
/// # Errors
/// [`ConfigError::EmptyName`], [`ConfigError::CommonName`], and [`ConfigError::InseparableName`] where
/// another name ends in a target's whole name after a dot (PEFT drops such a target without a word).
pub fn minimal_target_modules(
    targets: &[impl AsRef<str>],
    others: &[impl AsRef<str>],
) -> Result<Vec<String>, ConfigError> {
    let mut others_by_suffix = BTreeMap::new();
    for other in others {
        for suffix in suffixes(other.as_ref()) {
            others_by_suffix.entry(suffix).or_insert(other.as_ref());
        }
    }
    let mut wanted: Vec<_> = targets.iter().map(|name| (suffixes(name.as_ref()), name.as_ref())).collect();
    wanted.sort_unstable();

    let mut required = BTreeSet::new();
    for (suffixes, name) in &wanted {
        check_target(name, &others_by_suffix)?;
        if !suffixes.iter().any(|suffix| required.contains(suffix)) {
            required.extend(suffixes.iter().find(|suffix| !others_by_suffix.contains_key(*suffix)).copied());
        }
    }
    Ok(required.into_iter().map(str::to_owned).collect())
}

/// Condenses a list of targets as PEFT does at injection: only a long list, only with respect to the modules
/// that the list does not hit anyway, and only if that makes it shorter.
pub(super) fn condense(
    targets: &BTreeSet<String>,
    modules: &[&str],
) -> Result<Option<BTreeSet<String>>, ConfigError> {
    if targets.len() < MIN_TARGETS {
        return Ok(None);
    }
    let is_hit = |module: &str| suffixes(module).iter().any(|suffix| targets.contains(*suffix));
    let others: Vec<_> = modules.iter().filter(|module| !is_hit(module)).collect();
    let names: Vec<_> = targets.iter().collect();
    let minimal: BTreeSet<_> = minimal_target_modules(&names, &others)?.into_iter().collect();
    Ok((minimal.len() < targets.len()).then_some(minimal))
}

/// The whole name and its ends after each dot, shortest first.
fn suffixes(name: &str) -> Vec<&str> {
    let ends = name.rmatch_indices('.').map(|(dot, _)| &name[dot + 1..]);
    ends.chain(std::iter::once(name)).collect()
}

fn check_target(name: &str, others_by_suffix: &BTreeMap<&str, &str>) -> Result<(), ConfigError> {
    if name.is_empty() {
        return Err(ConfigError::EmptyName);
    }
    match others_by_suffix.get(name) {
        None => Ok(()),
        Some(other) if *other == name => Err(ConfigError::CommonName { name: name.to_owned() }),
        Some(other) => {
            Err(ConfigError::InseparableName { name: name.to_owned(), other: (*other).to_owned() })
        }
    }
}
