//! The ten laws, one module each; each is a function of a fixture.

mod addition;
mod forward;
mod gradient;
mod identity;
mod life_cycle;
mod memory;
mod merge;
mod refusal;
mod statelessness;
mod storage;

use crate::run::Verdict;
use crate::{BackendFixture, Law};

/// The check of a law.
pub(crate) fn of(law: Law) -> fn(&dyn BackendFixture) -> Verdict {
    match law {
        Law::Forward => forward::law,
        Law::Gradient => gradient::law,
        Law::Identity => identity::law,
        Law::Addition => addition::law,
        Law::Merge => merge::law,
        Law::Storage => storage::law,
        Law::Statelessness => statelessness::law,
        Law::Refusal => refusal::law,
        Law::LifeCycle => life_cycle::law,
        Law::Memory => memory::law,
    }
}
