//! Law 4: active adapters add, and scaling acts on the adapter's contribution alone.
//!
//! The reference starts from the base's output as it is, so the bound is that of the adapters' own sums.

use crate::adapted::{build, output, train, wrap};
use crate::approx::Approx;
use crate::bytes::equal_values;
use crate::dense::{Adapter, Dense};
use crate::input::{Input, inputs};
use crate::run::{Verdict, ensure, for_all};
use crate::{BackendFixture, Case};
use qtuner_core::{LoraLayer, LoraOptions};
use tch::Tensor;

pub(super) fn law(fixture: &dyn BackendFixture) -> Verdict {
    let cases = fixture.shapes().cases(&fixture.input_kinds());
    for_all(96, (cases, inputs()), |(case, input)| adapters_add(fixture, &case.ordinary(), &input))
}

fn adapters_add(fixture: &dyn BackendFixture, case: &Case, input: &Input) -> Verdict {
    let layer = build(fixture, case)?;
    let x = input.draw(case.in_features, case.input_kind);
    let base = output(&*layer, &x)?;
    let mut lora = wrap(fixture, &*layer, "first")?;
    lora.update_layer("second", LoraOptions::default().with_rank(5).with_alpha(1.0))?;
    train(&*lora, "first", case.seed)?;
    train(&*lora, "second", case.seed + 1)?;

    for active in [&["first"][..], &["second"], &["first", "second"], &["second", "first"], &[]] {
        lora.set_adapter(active)?;
        agrees(&*lora, &base, &x, active, "")?;
    }
    let both = ["first", "second"];
    lora.set_adapter(&both)?;
    lora.set_scale("second", -3.0)?;
    scaled(&*lora, [2.0, -0.6])?;
    agrees(&*lora, &base, &x, &both, " after set_scale")?;
    lora.scale_layer(0.5)?;
    scaled(&*lora, [1.0, -0.3])?;
    agrees(&*lora, &base, &x, &both, " after scale_layer")?;
    lora.unscale_layer(None)?;
    scaled(&*lora, [2.0, 0.2])?;
    agrees(&*lora, &base, &x, &both, " after unscale_layer")?;
    for name in both {
        lora.set_scale(name, 0.0)?;
    }
    ensure!(equal_values(&output(&*lora, &x)?, &base), "adapters of scale 0 changed the output");
    Ok(())
}

fn scaled(lora: &dyn LoraLayer, expected: [f64; 2]) -> Verdict {
    let found = ["first", "second"].map(|name| lora.scaling(name).unwrap_or(f64::NAN));
    let close = found.iter().zip(&expected).all(|(found, expected)| (found - expected).abs() < 1e-12);
    ensure!(close, "the scalings are {found:?}, expected {expected:?}");
    Ok(())
}

fn agrees(lora: &dyn LoraLayer, base: &Tensor, x: &Tensor, active: &[&str], when: &str) -> Verdict {
    let adapters: Vec<Adapter> = active.iter().map(|name| Adapter::of(lora, name)).collect::<Verdict<_>>()?;
    let expected = Dense::adapted(Approx::exact(base), &adapters.iter().collect::<Vec<_>>(), x);
    expected.holds(&format!("the output with {active:?} active{when}"), &output(lora, x)?)
}
