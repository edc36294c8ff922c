//! Law 6: what is saved loads, with the same outputs, names and bytes; the layer's own tensors through a safetensors file, and
//! adapters through PEFT's two files.

use crate::adapted::{TwoLayers, build, output, registry, train};
use crate::bytes::same_values;
use crate::input::Input;
use crate::run::{Broken, Verdict, ensure, for_all};
use crate::{BackendFixture, Case, CheckpointTensors};
use qtuner_core::adapter_file::{CONFIG_FILE, MODEL_FILE};
use qtuner_core::{Injection, Layer, LoraConfig, Trainability, load_adapter_with, save_adapter};
use std::collections::BTreeSet;
use std::path::Path;
use tch::Tensor;

pub(super) fn law(fixture: &dyn BackendFixture) -> Verdict {
    let cases = || fixture.shapes().cases(&fixture.input_kinds());
    for_all(64, cases(), |case| layers_load(fixture, &case))?;
    for_all(16, cases(), |case| adapters_load(fixture, &case.ordinary()))
}

fn layers_load(fixture: &dyn BackendFixture, case: &Case) -> Verdict {
    let layer = build(fixture, case)?;
    let saved = CheckpointTensors::of(&*layer);
    names_are_stable(fixture, case, &*layer, &saved)?;

    let folder = tempfile::tempdir()?;
    let path = folder.path().join("layer.safetensors");
    Tensor::write_safetensors(saved.tensors(), &path)?;
    let read = CheckpointTensors::new(layer.kind_name(), Tensor::read_safetensors(&path)?);
    let loaded = fixture.load(read)?;
    ensure!(format!("{loaded:?}") == format!("{layer:?}"), "saved {layer:?}, loaded {loaded:?}");
    let difference = saved.difference(&*loaded);
    ensure!(difference.is_none(), "the loaded layer has {}", difference.unwrap_or_default());
    let x = Input::rows(9).draw(case.in_features, case.input_kind);
    ensure!(
        same_values(&output(&*loaded, &x)?, &output(&*layer, &x)?),
        "the loaded layer gives another output"
    );
    Ok(())
}

/// Names are unique and the same for every such layer; every handle is on the same storage.
fn names_are_stable(
    fixture: &dyn BackendFixture,
    case: &Case,
    layer: &dyn Layer,
    saved: &CheckpointTensors,
) -> Verdict {
    let names: BTreeSet<&str> = saved.tensors().iter().map(|(name, _)| name.as_str()).collect();
    ensure!(names.len() == saved.tensors().len(), "two tensors of one name in {names:?}");
    let difference = saved.difference(&*build(fixture, case)?);
    ensure!(difference.is_none(), "a second layer of the same case has {}", difference.unwrap_or_default());
    let handle = layer.shallow_clone();
    for ((name, first), (_, second)) in layer.named_tensors().iter().zip(handle.named_tensors()) {
        ensure!(first.data_ptr() == second.data_ptr(), "a second handle has a copy of tensor `{name}`");
    }
    if let Some(quantized) = layer.as_quantized() {
        let packed = quantized.qweight().data_ptr();
        let shared = layer.named_tensors().iter().any(|(_, tensor)| tensor.data_ptr() == packed);
        ensure!(shared, "`qweight()` is a copy of what `named_tensors()` holds");
    }
    Ok(())
}

fn adapters_load(fixture: &dyn BackendFixture, case: &Case) -> Verdict {
    let registry = registry(fixture)?;
    let injection = Injection::new().registry(&registry);
    let config = LoraConfig::new(["left", "right"]).with_rank(2).with_rank_pattern([("right", 3)]);
    let mut model = TwoLayers::new(fixture, case)?;
    injection.inject(&mut model, &config, "default")?;
    for (slot, seed) in model.slots().into_iter().zip(case.seed..) {
        let lora =
            slot.layer().as_lora().ok_or_else(|| Broken::new("an injected slot holds no LoRA layer"))?;
        train(lora, "default", seed)?;
    }
    let folder = tempfile::tempdir()?;
    let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
    save_adapter(&model, "default", &first)?;
    let mut other = TwoLayers::new(fixture, case)?;
    load_adapter_with(&injection, &mut other, &first, "default", Trainability::Trainable)?;
    save_adapter(&other, "default", &second)?;
    for file in [CONFIG_FILE, MODEL_FILE] {
        same_files(&first.join(file), &second.join(file))?;
    }
    let x = Input::rows(4).draw(case.in_features, case.input_kind);
    for (saved, loaded) in model.slots().into_iter().zip(other.slots()) {
        let same = same_values(&output(saved.layer(), &x)?, &output(loaded.layer(), &x)?);
        ensure!(same, "a loaded adapter gives another output on {:?}", loaded.layer());
    }
    Ok(())
}

fn same_files(first: &Path, second: &Path) -> Verdict {
    let same = std::fs::read(first)? == std::fs::read(second)?;
    ensure!(same, "{} differs after loading and saving again", first.display());
    Ok(())
}
