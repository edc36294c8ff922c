//! Law 8: bad shapes, dtypes, ranks, groups, truncated or lying tensors are typed errors that name the layer, what was found
//! and what was expected. Never a panic, and the model is unchanged.

mod corrupt;
mod files;
mod injection;
mod inputs;

use crate::BackendFixture;
use crate::run::{Broken, Verdict, for_all, message_of};
use qtuner_core::LayerError;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub(super) fn law(fixture: &dyn BackendFixture) -> Verdict {
    let cases = || fixture.shapes().cases(&fixture.input_kinds());
    for_all(48, cases(), |case| inputs::are_refused(fixture, &case.ordinary()))?;
    corrupt::layers_are_refused(fixture)?;
    for_all(8, cases(), |case| injection::changes_nothing_when_it_fails(fixture, &case.ordinary()))?;
    for_all(6, cases(), |case| files::are_refused_whole(fixture, &case.ordinary()))
}

/// What `body` gives; a panic is a broken law.
fn without_panic<T>(what: &str, body: impl FnOnce() -> T) -> Verdict<T> {
    catch_unwind(AssertUnwindSafe(body)).map_err(|payload| {
        Broken::new(format!("{what} panicked, expected an error: {}", message_of(&*payload)))
    })
}

/// The error without the layer's place in the model.
fn peeled(error: LayerError) -> LayerError {
    match error {
        LayerError::At { source, .. } => peeled(*source),
        error => error,
    }
}
