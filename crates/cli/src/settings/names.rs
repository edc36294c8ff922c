//! The names that settings can have.

use qtuner_train::TrainConfig;
use serde_json::Value;

/// Whose a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// The run's: files, folders, the dtype.
    Run = 0,
    /// PEFT's `LoraConfig`.
    Lora = 1,
    /// `TrainConfig`.
    Training = 2,
}

const RUN: [&str; 6] = ["model", "tokenizer", "data", "eval_data", "output", "dtype"];

/// The fields of PEFT's `LoraConfig` that a run can set.
pub(super) const LORA: [&str; 14] = [
    "r",
    "lora_alpha",
    "lora_dropout",
    "target_modules",
    "exclude_modules",
    "layers_to_transform",
    "layers_pattern",
    "rank_pattern",
    "alpha_pattern",
    "bias",
    "use_rslora",
    "use_dora",
    "lora_bias",
    "init_lora_weights",
];

/// transformers' names for what has a shorter one here.
const ALIASES: [(&str, &str); 10] = [
    ("max_length", "sequence_length"),
    ("max_seq_length", "sequence_length"),
    ("per_device_train_batch_size", "batch_size"),
    ("per_device_eval_batch_size", "eval_batch_size"),
    ("num_train_epochs", "num_epochs"),
    ("lr_scheduler_type", "lr_scheduler"),
    ("logging_steps", "log_every"),
    ("eval_steps", "eval_every"),
    ("save_steps", "save_every"),
    ("save_total_limit", "keep_last"),
];

/// Common names of other tools, which are not taken but understood.
const MEANT: [(&str, &str); 6] = [
    ("rank", "r"),
    ("alpha", "lora_alpha"),
    ("dropout", "lora_dropout"),
    ("lr", "learning_rate"),
    ("epochs", "num_epochs"),
    ("base_model", "model"),
];

/// Names within this distance of a known one are taken for a slip.
const SLIP: usize = 3;

/// The training's names.
fn training() -> Vec<String> {
    let config = serde_json::to_value(TrainConfig::default()).unwrap_or_default();
    let names = config.as_object().into_iter().flatten().map(|(name, _)| name.clone());
    names.collect()
}

/// Whose `name` is, if it is anybody's.
pub(super) fn owner(name: &str) -> Option<Owner> {
    if RUN.contains(&name) {
        Some(Owner::Run)
    } else if LORA.contains(&name) {
        Some(Owner::Lora)
    } else {
        training().iter().any(|known| known == name).then_some(Owner::Training)
    }
}

/// The name under which `name` is kept.
pub(super) fn canonical(name: &str) -> &str {
    ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| name)
}

/// What may have been meant by a name that is not known.
pub(super) fn suggestion(name: &str) -> Option<String> {
    let name = name.replace('-', "_").to_lowercase();
    if let Some((_, meant)) = MEANT.iter().find(|(other, _)| *other == name) {
        return Some((*meant).to_owned());
    }
    let known = RUN.iter().chain(&LORA).map(|name| (*name).to_owned()).chain(training());
    let near = known.map(|known| (strsim::damerau_levenshtein(&name, &known), known));
    let allowed = SLIP.min(1 + name.chars().count() / 4);
    near.filter(|(distance, _)| *distance <= allowed).min().map(|(_, known)| known)
}

/// A value as an error shows it.
pub(super) fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_answered_with_the_name_that_was_meant() {
        let check =
            |name: &str, expected: Option<&str>| assert_eq!(suggestion(name).as_deref(), expected, "{name}");
        check("lerning_rate", Some("learning_rate"));
        check("batch-size", Some("batch_size"));
        check("lora_aplha", Some("lora_alpha"));
        check("target_module", Some("target_modules"));
        check("lr", Some("learning_rate"));
        check("rank", Some("r"));
        check("colour_of_the_sky", None);
    }

    #[test]
    fn every_alias_stands_for_a_known_name() {
        for (alias, name) in ALIASES.iter().chain(&MEANT) {
            assert!(owner(name).is_some() && owner(alias).is_none(), "{alias}: {name}");
        }
    }
}
