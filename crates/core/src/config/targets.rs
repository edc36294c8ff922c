//! `target_modules` and `exclude_modules`: names, or one regular expression.

use std::collections::BTreeSet;
use std::fmt;

/// Which modules get an adapter (PEFT's `target_modules`).
///
/// As in PEFT a list is a list of names, and a lone string is a regular expression for whole names, or the
/// word `all-linear` in any letter case.
///
/// ```
/// use qtuner_core::TargetModules;
///
/// assert!(matches!(TargetModules::from(["q_proj", "v_proj"]), TargetModules::Names(_)));
/// assert!(matches!(TargetModules::from(".*q_proj"), TargetModules::Regex(_)));
/// assert_eq!(TargetModules::from("All-Linear"), TargetModules::AllLinear);
/// assert!(matches!(TargetModules::from(["all-linear"]), TargetModules::Names(_)));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetModules {
    /// A module is hit when its name is an entry, or ends in a dot and an entry.
    Names(BTreeSet<String>),
    /// A module is hit when Python's `re.fullmatch` would match its name.
    Regex(String),
    /// Every linear layer but the output head; see
    /// [`LoraConfig::resolve_targets`](crate::LoraConfig::resolve_targets).
    AllLinear,
}

impl TargetModules {
    /// Whether PEFT would say that no targets were given: an empty list or an empty string.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Names(names) => names.is_empty(),
            Self::Regex(pattern) => pattern.is_empty(),
            Self::AllLinear => false,
        }
    }
}

/// Which modules never get an adapter (PEFT's `exclude_modules`). Hits as [`TargetModules`] does; an empty
/// list or string excludes nothing.
///
/// ```
/// use qtuner_core::{ExcludeModules, LoraConfig};
///
/// let config = LoraConfig::new("all-linear").with_exclude_modules(["lm_head"]);
/// assert!(matches!(config.exclude_modules, Some(ExcludeModules::Names(_))));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExcludeModules {
    /// Names, or the ends of names after a dot.
    Names(BTreeSet<String>),
    /// A Python regular expression for whole names.
    Regex(String),
}

impl From<&str> for TargetModules {
    fn from(text: &str) -> Self {
        if text.eq_ignore_ascii_case("all-linear") { Self::AllLinear } else { Self::Regex(text.to_owned()) }
    }
}

impl From<&str> for ExcludeModules {
    fn from(text: &str) -> Self {
        Self::Regex(text.to_owned())
    }
}

macro_rules! from_lists {
    ($type:ident) => {
        impl From<String> for $type {
            fn from(text: String) -> Self {
                Self::from(text.as_str())
            }
        }

        impl From<BTreeSet<String>> for $type {
            fn from(names: BTreeSet<String>) -> Self {
                Self::Names(names)
            }
        }

        impl<S: Into<String>> From<Vec<S>> for $type {
            fn from(names: Vec<S>) -> Self {
                Self::Names(names.into_iter().map(Into::into).collect())
            }
        }

        impl<S: Into<String>, const N: usize> From<[S; N]> for $type {
            fn from(names: [S; N]) -> Self {
                Self::Names(names.into_iter().map(Into::into).collect())
            }
        }

        impl<S: AsRef<str>> From<&[S]> for $type {
            fn from(names: &[S]) -> Self {
                Self::Names(names.iter().map(|name| name.as_ref().to_owned()).collect())
            }
        }
    };
}

from_lists!(TargetModules);
from_lists!(ExcludeModules);

impl fmt::Display for TargetModules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Names(names) => f.debug_list().entries(names).finish(),
            Self::Regex(pattern) => write!(f, "the regular expression {pattern:?}"),
            Self::AllLinear => f.write_str("\"all-linear\""),
        }
    }
}

impl fmt::Display for ExcludeModules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Names(names) => f.debug_list().entries(names).finish(),
            Self::Regex(pattern) => write!(f, "the regular expression {pattern:?}"),
        }
    }
}
