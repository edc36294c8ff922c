//! Merging: a copy of the base with the adapters' deltas in its weight.
//!
//! The base itself is never changed, so that unmerging restores it bit for bit. A merged layer therefore stands in memory
//! beside its base until it is unmerged or, with [`merge_and_unload`](crate::model::merge_and_unload), replaces it.

use super::LoraLinear;
use super::linear::Merged;
use crate::{MergeCheck, TunerError};
use tch::{Kind, TchError, Tensor};

impl LoraLinear {
    /// The layer with `names` merged beside those that already are; `None` when there is nothing new to merge.
    pub(super) fn merged_with(
        &self,
        names: &[&str],
        check: MergeCheck,
    ) -> Result<Option<Merged>, TunerError> {
        let mut all = self.merged_names().to_vec();
        for name in names {
            if self.adapters.contains_key(*name) && !all.iter().any(|merged| merged == name) {
                all.push((*name).to_owned());
            }
        }
        if all.len() == self.merged_names().len() {
            return Ok(None);
        }
        let Some(target) = self.base.as_merge() else {
            return Err(TunerError::MergeUnsupported {
                layer: self.place(),
                base: format!("{:?}", self.base),
                hint: "the packed format has no room for the sum; keep the adapter beside the base"
                    .to_owned(),
            });
        };
        let (delta, bias_delta) = self.sum(&all, check)?;
        if bias_delta.is_some() && self.base.bias().is_none() {
            return Err(TunerError::MergeUnsupported {
                layer: self.place(),
                base: format!("{:?}", self.base),
                hint: "the adapter has a bias (`lora_bias`) and the base has none to add it to".to_owned(),
            });
        }
        let layer = target
            .merged_with(&delta, bias_delta.as_ref())
            .map_err(|source| TunerError::Layer { layer: self.place(), source })?;
        if check == MergeCheck::Finite {
            for (_, tensor) in layer.named_tensors() {
                self.refuse_non_finite(&tensor, &all)?;
            }
        }
        Ok(Some(Merged { names: all, layer }))
    }

    /// The summed deltas of `names`, in f32; each is looked at alone, so that the broken adapter is the one that is named.
    fn sum(&self, names: &[String], check: MergeCheck) -> Result<(Tensor, Option<Tensor>), TunerError> {
        let torch = |source: TchError| self.torch("the adapter's delta", source);
        let size = [self.base.out_features(), self.base.in_features()];
        let mut delta = Tensor::f_zeros(size, (Kind::Float, self.base.device())).map_err(torch)?;
        let mut bias_delta: Option<Tensor> = None;
        for name in names {
            let Some(adapter) = self.adapters.get(name) else { continue };
            let one = adapter.delta().map_err(torch)?;
            let bias = adapter.bias_delta().map_err(torch)?;
            if check == MergeCheck::Finite {
                for tensor in std::iter::once(&one).chain(&bias) {
                    self.refuse_non_finite(tensor, std::slice::from_ref(name))?;
                }
            }
            delta = delta.f_add(&one).map_err(torch)?;
            bias_delta = match (bias_delta, bias) {
                (Some(sum), Some(bias)) => Some(sum.f_add(&bias).map_err(torch)?),
                (sum, bias) => sum.or(bias),
            };
        }
        Ok((delta, bias_delta))
    }

    fn refuse_non_finite(&self, tensor: &Tensor, names: &[String]) -> Result<(), TunerError> {
        let finite =
            tensor.f_isfinite().and_then(|finite| finite.f_all()).and_then(|all| bool::try_from(&all));
        if finite.map_err(|source| self.torch("the finite check", source))? {
            return Ok(());
        }
        Err(TunerError::NotFinite { layer: self.place(), adapter: names.join(", ") })
    }
}
