//! What can be wrong with a config, and what is worth a warning.

use std::fmt;

/// An error of a [`LoraConfig`](crate::LoraConfig): in its file, in its values, or in what it says about the
/// modules at hand.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file is not JSON.
    #[error("the adapter config is not valid JSON: {reason}")]
    Json {
        /// What the parser says, with line and column.
        reason: String,
    },
    /// The file holds something else than one object.
    #[error("the adapter config holds {found}, expected one JSON object")]
    NotAnObject {
        /// The value that is there.
        found: String,
    },
    /// The file does not say which PEFT method it configures.
    #[error("the adapter config has no peft_type, expected \"LORA\": is this an adapter_config.json?")]
    MissingPeftType,
    /// The file configures another PEFT method.
    #[error("the adapter config is for peft_type {found}, and only \"LORA\" is implemented")]
    OtherPeftType {
        /// The value that is there.
        found: String,
    },
    /// A field holds a value of the wrong kind.
    #[error("{field} is {found}, expected {expected}")]
    InvalidField {
        /// The key in the file.
        field: &'static str,
        /// The value that is there.
        found: String,
        /// The values that may be there.
        expected: &'static str,
    },
    /// A number is outside its range.
    #[error("{field} is {found}, expected {expected}")]
    OutOfRange {
        /// The key in the file.
        field: &'static str,
        /// The number that is there.
        found: f64,
        /// The numbers that may be there.
        expected: &'static str,
    },
    /// A value that PEFT knows and this crate does not implement.
    #[error("{field} = {value} is not supported: {hint}")]
    Unsupported {
        /// The key in the file.
        field: &'static str,
        /// Its value, as JSON.
        value: String,
        /// What is supported, or what to do.
        hint: &'static str,
    },
    /// Two fields that exclude each other.
    #[error("{field} cannot be combined with {other}: {hint}")]
    Conflict {
        /// The key in the file.
        field: &'static str,
        /// What it clashes with.
        other: &'static str,
        /// The way out.
        hint: &'static str,
    },
    /// `layers_pattern` names a list, and no layer numbers are given.
    #[error("layers_pattern is given without layers_to_transform: add the layer numbers or remove it")]
    LayersPatternAlone,
    /// More than one thing is wrong.
    #[error("{0}")]
    Several(ConfigProblems),

    /// A pattern is not a regular expression.
    #[error("{field}: {pattern:?} is not a regular expression that can be used: {reason}")]
    Regex {
        /// The key in the file.
        field: &'static str,
        /// The pattern as given.
        pattern: String,
        /// What the compiler says.
        reason: String,
    },
    /// A pattern could not be evaluated, for instance because it backtracks without end.
    #[error(
        "{field}: {pattern:?} could not be evaluated on module {module:?}: {reason}; simplify the pattern"
    )]
    RegexFailed {
        /// The key in the file.
        field: &'static str,
        /// The pattern as given.
        pattern: String,
        /// The module's name.
        module: String,
        /// What the matcher says.
        reason: String,
    },
    /// A rank below one, from `r` or from `rank_pattern`.
    #[error(
        "module {module}: the rank is {rank}, expected 1 or more: set r, or the entry of rank_pattern that hits it"
    )]
    RankBelowOne {
        /// The module's name.
        module: String,
        /// The rank.
        rank: i64,
    },

    /// "all-linear" was to be matched before it was expanded.
    #[error(
        "target_modules = \"all-linear\" has to be expanded to names of the model first: call resolve_targets"
    )]
    UnresolvedAllLinear,
    /// No targets are given, and the model type has no defaults.
    #[error(
        "no target_modules are given and model type {model_type} has no defaults: set target_modules, for \
        instance to \"all-linear\""
    )]
    NoDefaultTargets {
        /// The model type, if one is known.
        model_type: String,
    },
    /// A list of names holds an empty one.
    #[error("a name in target_modules is empty: remove it")]
    EmptyName,
    /// A name is both wanted and not wanted.
    #[error("module {name} is both among the targets and among the others")]
    CommonName {
        /// The name.
        name: String,
    },
    /// A module cannot be targeted by name without another one being hit as well.
    #[error("module {name} cannot be targeted by name without hitting {other} too: use a regular expression")]
    InseparableName {
        /// The wanted module.
        name: String,
        /// The module whose name ends in the wanted one's.
        other: String,
    },

    /// No adapter was placed: every module is excluded.
    #[error("all {excluded} modules were excluded: look at exclude_modules and modules_to_save")]
    AllExcluded {
        /// How many modules there are.
        excluded: usize,
    },
    /// No adapter was placed: there are no targets.
    #[error("no target_modules are given, or \"all-linear\" found no linear layer: set target_modules")]
    NoTargets,
    /// No adapter was placed: the targets hit none of the modules.
    #[error(
        "target_modules {targets} hit none of the model's {total} modules{layers}; a name in a list has to be a \
        whole module name or its end after a dot, and a lone string is a regular expression for whole names"
    )]
    TargetsNotFound {
        /// The targets.
        targets: String,
        /// How many modules there are.
        total: usize,
        /// The layer filter, which may be what kept them out. Empty if there is none.
        layers: String,
    },
    /// No adapter was placed: some modules are excluded, and the targets hit none of the others.
    #[error(
        "no module was targeted: of {total} modules {excluded} were excluded and target_modules {targets} hit \
        none of the others{layers}; look at target_modules, exclude_modules and modules_to_save together"
    )]
    NothingTargeted {
        /// The targets.
        targets: String,
        /// How many modules there are.
        total: usize,
        /// How many of them are excluded.
        excluded: usize,
        /// The layer filter, which may be what kept them out. Empty if there is none.
        layers: String,
    },
}

/// All problems of one config.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigProblems(pub Vec<ConfigError>);

impl fmt::Display for ConfigProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} problems:", self.0.len())?;
        self.0.iter().try_for_each(|problem| write!(f, "\n- {problem}"))
    }
}

/// Something in a config that is allowed and probably not meant.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigWarning {
    /// `exclude_modules` is given and excluded nothing.
    ExcludeUnused {
        /// The value.
        exclude_modules: String,
    },
    /// A field is set and changes nothing.
    IgnoredField {
        /// The key in the file.
        field: &'static str,
        /// Why it changes nothing.
        reason: String,
    },
    /// Fields that no known PEFT has, in order.
    UnknownFields {
        /// The keys.
        fields: Vec<String>,
    },
}

impl fmt::Display for ConfigWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ExcludeUnused { exclude_modules } => {
                write!(f, "exclude_modules is {exclude_modules} and excluded no module")
            }
            Self::IgnoredField { field, reason } => write!(f, "{field} is set and ignored: {reason}"),
            Self::UnknownFields { fields } => write!(
                f,
                "unknown fields {}: they are kept when the config is saved and have no effect; a newer PEFT may have \
                 written them",
                fields.join(", ")
            ),
        }
    }
}
