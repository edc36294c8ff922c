//! The commands, each with its arguments.

pub(crate) mod backends;
pub(crate) mod completions;
pub(crate) mod env;
pub(crate) mod eval;
pub(crate) mod generate;
pub(crate) mod inspect;
pub(crate) mod preview;
pub(crate) mod train;
