//! The model and the reference, side by side.

use super::operation::Operation;
use super::reference::{Held, LayerState, Reference, Refusal};
use crate::adapted::{TwoLayers, output, registry, train};
use crate::dense::{Adapter, Dense};
use crate::input::Input;
use crate::run::{Broken, Verdict, ensure};
use crate::{BackendFixture, Case, CheckpointTensors};
use qtuner_core::{
    AdapterFileError, InjectError, Injection, LoraConfig, MergeCheck, Registry, Trainability, TunerError,
    load_adapter_with, model, save_adapter,
};
use std::collections::BTreeMap;
use tch::Tensor;
use tempfile::TempDir;

/// One run of a sequence of operations.
pub(super) struct Machine {
    pub(super) model: TwoLayers,
    pub(super) reference: Reference,
    /// The tensors and outputs of the bases, before any operation.
    pub(super) bases: [(CheckpointTensors, Tensor); 2],
    pub(super) x: Tensor,
    registry: Registry,
    folder: TempDir,
}

impl Machine {
    pub(super) fn new(fixture: &dyn BackendFixture, case: &Case) -> Verdict<Self> {
        let model = TwoLayers::new(fixture, case)?;
        let x = Input::rows(3).draw(case.in_features, case.input_kind);
        let [left, right] = model.slots().map(|slot| {
            let layer = slot.layer();
            let state = LayerState {
                base: Dense::of(layer)?,
                adapters: BTreeMap::new(),
                merged: Vec::new(),
                wrapped: false,
            };
            Ok::<_, Broken>((state, (CheckpointTensors::of(layer), output(layer, &x)?)))
        });
        let ((left, left_base), (right, right_base)) = (left?, right?);
        let reference = Reference {
            layers: [left, right],
            active: Vec::new(),
            enabled: true,
            can_merge: model.left.layer().as_merge().is_some(),
            files: BTreeMap::new(),
        };
        let bases = [left_base, right_base];
        Ok(Self { model, reference, bases, x, registry: registry(fixture)?, folder: tempfile::tempdir()? })
    }

    /// Does `operation` to both, and compares whether they refuse it.
    pub(super) fn step(&mut self, operation: &Operation) -> Verdict {
        let reference = &mut self.reference;
        let model = &mut self.model;
        match operation {
            Operation::Add { name, targets, rank, alpha, seed } => {
                self.add(name, targets, [*rank, *alpha], *seed)
            }
            Operation::Activate(names) => {
                same(&refusal(model::set_adapter(model, names))?, &reference.activate(names))
            }
            Operation::Enable => {
                model::enable_adapters(model)?;
                reference.enable(true);
                Ok(())
            }
            Operation::Disable => {
                model::disable_adapters(model)?;
                reference.enable(false);
                Ok(())
            }
            Operation::SetScale(name, scale) => {
                same(&refusal(model::set_scale(model, name, *scale))?, &reference.set_scale(name, *scale))
            }
            Operation::Scale(scale) => {
                let expected = reference.rescale_active(|held| held.values.scaling * scale);
                same(&refusal(model::scale_adapters(model, *scale))?, &expected)
            }
            Operation::Unscale(scale) => {
                let expected = reference.rescale_active(|held| match scale {
                    Some(scale) => held.values.scaling / scale,
                    None => held.initial_scaling,
                });
                same(&refusal(model::unscale_adapters(model, *scale))?, &expected)
            }
            Operation::Merge(names) => {
                let expected = reference.merge(names.as_deref());
                same(&refusal(model::merge_adapter(model, names.as_deref(), MergeCheck::Finite))?, &expected)
            }
            Operation::Unmerge => {
                model::unmerge_adapter(model);
                reference.unmerge();
                Ok(())
            }
            Operation::Delete(name) => {
                same(&refusal(model::delete_adapter(model, name))?, &reference.delete(name))
            }
            Operation::Save(name) => {
                let expected = reference.save(name);
                same(&file_refusal(save_adapter(model, name, self.folder.path().join(name)))?, &expected)
            }
            Operation::Load { file, name } => {
                let injection = Injection::new().registry(&self.registry);
                let folder = self.folder.path().join(file);
                let loaded = load_adapter_with(&injection, model, folder, name, Trainability::Trainable);
                same(&file_refusal(loaded.map(|_| ()))?, &reference.load(file, name))
            }
        }
    }

    fn add(&mut self, name: &str, targets: &[&str], [rank, alpha]: [i64; 2], seed: i64) -> Verdict {
        let config = LoraConfig::new(targets.to_vec()).with_rank(rank).with_lora_alpha(alpha);
        let injected = Injection::new().registry(&self.registry).inject(&mut self.model, &config, name);
        let found = match injected {
            Ok(_) => Ok(()),
            Err(InjectError::AdapterExists { .. }) => Err(Refusal::Exists),
            Err(error) => return Err(error.into()),
        };
        let expected = self.reference.check_add(name);
        same(&found, &expected)?;
        if expected.is_err() {
            return Ok(());
        }
        let [left, right] = ["left", "right"].map(|path| targets.contains(&path));
        let held = |slot: &qtuner_core::Slot, seed| -> Verdict<Held> {
            let lora =
                slot.layer().as_lora().ok_or_else(|| Broken::new("a targeted slot holds no LoRA layer"))?;
            train(lora, name, seed)?;
            let values = Adapter::of(lora, name)?;
            #[allow(clippy::cast_precision_loss, reason = "the numbers are below ten")]
            let expected = alpha as f64 / rank as f64;
            let found = (values.rank, values.scaling);
            ensure!(
                found == (rank, expected),
                "rank and scaling are {found:?}, expected {:?}",
                (rank, expected)
            );
            Ok(Held { initial_scaling: values.scaling, values })
        };
        let left = left.then(|| held(&self.model.left, seed)).transpose()?;
        let right = right.then(|| held(&self.model.right, seed + 1)).transpose()?;
        self.reference.add(name, [left, right]);
        Ok(())
    }
}

fn same<T: PartialEq + std::fmt::Debug>(
    found: &Result<T, Refusal>,
    expected: &Result<T, Refusal>,
) -> Verdict {
    ensure!(found == expected, "the model said {found:?}, expected {expected:?}");
    Ok(())
}

/// The kind of a refusal; other errors break the law.
fn refusal<T>(outcome: Result<T, TunerError>) -> Verdict<Result<T, Refusal>> {
    match outcome {
        Ok(value) => Ok(Ok(value)),
        Err(TunerError::UnknownAdapter { .. }) => Ok(Err(Refusal::Unknown)),
        Err(TunerError::Merged { .. }) => Ok(Err(Refusal::Merged)),
        Err(TunerError::MergeUnsupported { .. }) => Ok(Err(Refusal::MergeUnsupported)),
        Err(error) => Err(error.into()),
    }
}

fn file_refusal(outcome: Result<(), AdapterFileError>) -> Verdict<Result<(), Refusal>> {
    match outcome {
        Ok(()) => Ok(Ok(())),
        Err(AdapterFileError::UnknownAdapter { .. }) => Ok(Err(Refusal::Unknown)),
        Err(AdapterFileError::Missing { .. }) => Ok(Err(Refusal::Missing)),
        Err(AdapterFileError::Inject { source, .. })
            if matches!(*source, InjectError::AdapterExists { .. }) =>
        {
            Ok(Err(Refusal::Exists))
        }
        Err(error) => Err(error.into()),
    }
}
