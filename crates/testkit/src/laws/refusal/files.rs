//! Adapter files that are cut off, or made for another model.

use super::without_panic;
use crate::adapted::{TwoLayers, registry};
use crate::run::{Broken, Verdict, ensure};
use crate::{BackendFixture, Case};
use qtuner_core::adapter_file::{CONFIG_FILE, MODEL_FILE};
use qtuner_core::{
    AdapterFileError, Injection, LoraConfig, Registry, Trainability, load_adapter_with, save_adapter,
};
use std::path::Path;

pub(super) fn are_refused_whole(fixture: &dyn BackendFixture, case: &Case) -> Verdict {
    let registry = registry(fixture)?;
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    save(fixture, case, &registry, folder)?;
    let mut model = TwoLayers::new(fixture, case)?;
    for file in [CONFIG_FILE, MODEL_FILE] {
        let path = folder.join(file);
        let whole = std::fs::read(&path)?;
        for length in [0, 1, 8, whole.len() / 2, whole.len() - 1] {
            std::fs::write(&path, &whole[..length])?;
            let error = refused(&mut model, &registry, folder)?;
            let text = error.to_string();
            ensure!(
                text.contains(file),
                "{file} cut to {length} bytes: the error does not name the file: {text}"
            );
        }
        std::fs::write(&path, whole)?;
    }

    let wider = Case { out_features: case.out_features + fixture.shapes().out_multiple, ..case.clone() };
    let error = refused(&mut TwoLayers::new(fixture, &wider)?, &registry, folder)?;
    let AdapterFileError::Misfit { wrong_shape, .. } = &error else {
        return Err(Broken::new(format!("an adapter of another model gave {error:?}, expected Misfit")));
    };
    let text = error.to_string();
    let named = wrong_shape.len() == 2
        && text.contains(&case.out_features.to_string())
        && text.contains(&wider.out_features.to_string());
    ensure!(named, "an adapter of another model: the error does not say both shapes of both layers: {text}");
    Ok(())
}

fn save(fixture: &dyn BackendFixture, case: &Case, registry: &Registry, folder: &Path) -> Verdict {
    let mut model = TwoLayers::new(fixture, case)?;
    let config = LoraConfig::new(["left", "right"]).with_rank(2);
    Injection::new().registry(registry).inject(&mut model, &config, "default")?;
    Ok(save_adapter(&model, "default", folder)?)
}

/// The error of loading the adapter in `folder`, which changes nothing.
fn refused(model: &mut TwoLayers, registry: &Registry, folder: &Path) -> Verdict<AdapterFileError> {
    let before = model.snapshot();
    let injection = Injection::new().registry(registry);
    let outcome = without_panic("loading an adapter", || {
        load_adapter_with(&injection, model, folder, "default", Trainability::Trainable)
    })?;
    let error =
        outcome.err().ok_or_else(|| Broken::new("a bad adapter file was loaded, expected an error"))?;
    ensure!(model.snapshot() == before, "the model changed although \"{error}\"");
    Ok(error)
}
