//! Law 9: any sequence of adds, switches, merges, deletes, saves and loads agrees with a dense model of it.
//!
//! After every operation the model and the [`Reference`] agree on success or the kind of refusal, on names, active and merged
//! adapters, scalings, which parameters train, what the `VarStore` holds, and on the outputs of both layers, within the bound.

mod agreement;
mod machine;
mod operation;
mod reference;

use crate::BackendFixture;
use crate::run::{Verdict, for_all};
use machine::Machine;
use operation::operations;

pub(super) fn law(fixture: &dyn BackendFixture) -> Verdict {
    let cases = fixture.shapes().cases(&fixture.input_kinds());
    let sequences = proptest::collection::vec(operations(), 1..16);
    for_all(300, (cases, sequences), |(case, operations)| {
        let mut machine = Machine::new(fixture, &case.ordinary())?;
        for (index, operation) in operations.iter().enumerate() {
            let step = machine.step(operation).and_then(|()| machine.agrees());
            step.map_err(|broken| broken.during(format!("operation {index}, {operation:?}")))?;
        }
        Ok(())
    })
}
