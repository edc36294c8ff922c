//! Tensors that no layer can be built from.

use super::{peeled, without_panic};
use crate::run::{Broken, Verdict, ensure};
use crate::{BackendFixture, Corruption};
use qtuner_core::LayerError;

pub(super) fn layers_are_refused(fixture: &dyn BackendFixture) -> Verdict {
    let corruptions = fixture.corruptions();
    ensure!(!corruptions.is_empty(), "the fixture lists no corruptions, expected some");
    corruptions.iter().try_for_each(|corruption| {
        is_refused(corruption).map_err(|broken| broken.during(format!("corruption \"{}\"", corruption.name)))
    })
}

fn is_refused(corruption: &Corruption<'_>) -> Verdict {
    let error = match without_panic("building a layer", || (corruption.attempt)())? {
        Ok(layer) => return Err(Broken::new(format!("gave {layer:?}, expected an error"))),
        Err(error) => peeled(error),
    };
    let (tensor, found, expected) = match &error {
        LayerError::Tensor { tensor, found, expected, .. } => (Some(tensor.as_str()), found, expected),
        LayerError::Input { found, expected, .. } => (None, found, expected),
        other => return Err(Broken::new(format!("gave {other:?}, expected LayerError::Tensor or Input"))),
    };
    ensure!(!found.is_empty() && !expected.is_empty(), "does not say what it found and expected: {error}");
    if corruption.tensor.is_some() {
        ensure!(tensor == corruption.tensor, "blames {tensor:?}, expected {:?}: {error}", corruption.tensor);
    }
    Ok(())
}
