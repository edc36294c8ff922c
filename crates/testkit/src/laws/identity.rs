//! Law 3: a fresh adapter (`B = 0`) and a disabled adapter leave the output bit-equal to the base.
//!
//! A fresh adapter adds zeros, which may turn `-0.0` into `0.0`; a disabled one adds nothing, and every bit is the same.

use crate::adapted::{build, output, train, wrap};
use crate::bytes::{equal_values, same_values};
use crate::input::{Input, inputs};
use crate::run::{Verdict, ensure, for_all};
use crate::{BackendFixture, Case};
use qtuner_core::{AdapterState, LoraOptions, Mode};

pub(super) fn law(fixture: &dyn BackendFixture) -> Verdict {
    let cases = fixture.shapes().cases(&fixture.input_kinds());
    for_all(128, (cases, inputs()), |(case, input)| changes_nothing(fixture, &case, &input))
}

fn changes_nothing(fixture: &dyn BackendFixture, case: &Case, input: &Input) -> Verdict {
    let layer = build(fixture, case)?;
    let x = input.draw(case.in_features, case.input_kind);
    let base = output(&*layer, &x)?;
    let mut lora = wrap(fixture, &*layer, "default")?;
    ensure!(equal_values(&output(&*lora, &x)?, &base), "a fresh adapter changed the output");
    lora.update_layer("second", LoraOptions::default().with_rank(2).with_dropout(0.5))?;
    lora.set_adapter(&["default", "second"])?;
    for mode in [Mode::Train, Mode::Eval] {
        lora.set_mode(mode);
        ensure!(equal_values(&lora.forward(&x)?, &base), "two fresh adapters changed the output in {mode:?}");
    }

    train(&*lora, "default", case.seed)?;
    train(&*lora, "second", case.seed + 1)?;
    lora.set_adapter_state(AdapterState::Disabled)?;
    for mode in [Mode::Train, Mode::Eval] {
        lora.set_mode(mode);
        ensure!(same_values(&output(&*lora, &x)?, &base), "disabled adapters changed the output in {mode:?}");
    }
    ensure!(same_values(&output(&*layer, &x)?, &base), "the wrapped layer itself gives another output");
    Ok(())
}
