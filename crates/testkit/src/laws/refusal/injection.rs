//! Injections that fail: on the config, on the name, on a layer that nobody takes.

use super::without_panic;
use crate::adapted::{TwoLayers, build, registry};
use crate::run::{Broken, Verdict, ensure};
use crate::{BackendFixture, Case};
use qtuner_core::{
    Injection, Layer, LayerError, LoraConfig, LoraLayer, LoraOptions, Slot, Support, TunerError,
};
use tch::{Device, Tensor};

/// A layer that no backend knows.
#[derive(Debug)]
struct Unclaimed {
    features: i64,
}

impl Layer for Unclaimed {
    fn forward(&self, x: &Tensor) -> Result<Tensor, LayerError> {
        Ok(x.shallow_clone())
    }

    fn in_features(&self) -> i64 {
        self.features
    }

    fn out_features(&self) -> i64 {
        self.features
    }

    fn kind_name(&self) -> &'static str {
        "Unclaimed"
    }

    fn device(&self) -> Device {
        Device::Cpu
    }

    fn named_tensors(&self) -> Vec<(&'static str, Tensor)> {
        Vec::new()
    }

    fn shallow_clone(&self) -> Box<dyn Layer> {
        Box::new(Self { ..*self })
    }
}

pub(super) fn changes_nothing_when_it_fails(fixture: &dyn BackendFixture, case: &Case) -> Verdict {
    let mut model = TwoLayers::new(fixture, case)?;
    model.right = Slot::from(Unclaimed { features: case.in_features });
    let both = || LoraConfig::new(["left", "right"]);
    fails(fixture, &mut model, &both(), "default", &["right", "Unclaimed", fixture.dispatcher().name()])?;

    let mut model = TwoLayers::new(fixture, case)?;
    every_config_fails(fixture, &mut model)?;
    let layer = build(fixture, case)?;
    if layer.as_quantized().is_none_or(|quantized| quantized.capabilities().dora == Support::No) {
        let mut dora = both();
        dora.use_dora = true;
        fails(fixture, &mut model, &dora, "default", &["left", "right", "use_dora"])?;
    }

    let registry = registry(fixture)?;
    Injection::new().registry(&registry).inject(&mut model, &both().with_rank(2), "default")?;
    fails(fixture, &mut model, &both(), "default", &["default"])?;
    every_config_fails(fixture, &mut model)?;
    a_bad_rank_fails(&mut model)
}

fn every_config_fails(fixture: &dyn BackendFixture, model: &mut TwoLayers) -> Verdict {
    let both = || LoraConfig::new(["left", "right"]);
    fails(fixture, model, &both().with_rank(0), "other", &["0"])?;
    fails(fixture, model, &both().with_rank_pattern([("right", -3)]), "other", &["right", "-3"])?;
    fails(fixture, model, &LoraConfig::new(["nowhere"]), "other", &["nowhere"])?;
    fails(fixture, model, &LoraConfig::new("left|(right"), "other", &["left|(right"])?;
    fails(fixture, model, &both().with_lora_dropout(2.0), "other", &["2"])?;
    fails(fixture, model, &both(), "a.b", &["a.b"])?;
    fails(fixture, model, &both(), "", &["\"\""])
}

/// The injection fails without a panic, with an error that has `words` in it, and changes nothing.
fn fails(
    fixture: &dyn BackendFixture,
    model: &mut TwoLayers,
    config: &LoraConfig,
    name: &str,
    words: &[&str],
) -> Verdict {
    let registry = registry(fixture)?;
    let before = model.snapshot();
    let injection = Injection::new().registry(&registry);
    let outcome = without_panic("injecting", || injection.inject(model, config, name))?;
    let Err(error) = outcome else {
        return Err(Broken::new(format!("injecting \"{name}\" worked, expected an error about {words:?}")));
    };
    let text = error.to_string();
    let missing = words.iter().find(|word| !text.contains(**word));
    ensure!(missing.is_none(), "the error does not say {:?}: {text}", missing.unwrap_or(&""));
    unchanged(model, &before, &text)
}

fn unchanged(model: &TwoLayers, before: &[String], error: &str) -> Verdict {
    let after = model.snapshot();
    let differs = before.iter().zip(&after).find(|(before, after)| before != after);
    if let Some((before, after)) = differs {
        return Err(Broken::new(format!(
            "the model changed although \"{error}\": {before:.200} became {after:.200}"
        )));
    }
    ensure!(before.len() == after.len(), "the model changed although \"{error}\": tensors came or went");
    Ok(())
}

fn a_bad_rank_fails(model: &mut TwoLayers) -> Verdict {
    let before = model.snapshot();
    for rank in [0, -1, i64::MIN] {
        let lora = model.left.layer_mut().as_lora_mut();
        let lora: &mut dyn LoraLayer =
            lora.ok_or_else(|| Broken::new("an injected slot holds no LoRA layer"))?;
        let outcome = without_panic("update_layer", || {
            lora.update_layer("other", LoraOptions::default().with_rank(rank))
        })?;
        let Err(error @ TunerError::Rank { .. }) = outcome else {
            return Err(Broken::new(format!("rank {rank} gave {outcome:?}, expected TunerError::Rank")));
        };
        let text = error.to_string();
        ensure!(text.contains(&rank.to_string()) && text.contains("left"), "rank {rank}: {text}");
        unchanged(model, &before, &text)?;
    }
    Ok(())
}
