//! What is LoRA's own: ranks, scalings, `A` and `B`.

use super::{LoraAdapter, LoraLinear, LoraOptions};
use crate::config::InitLoraWeights;
use crate::{BaseTunerLayer, TunerError};
use tch::Tensor;

/// A LoRA layer, PEFT's `LoraLayer`.
///
/// Who implements it: [`LoraLinear`], and a backend's named wrapper around one, by pointing at it with
/// [`lora`](Self::lora) and [`lora_mut`](Self::lora_mut). [`Layer`](crate::Layer) and [`BaseTunerLayer`] come with it.
/// Methods that name an adapter do nothing, or give nothing, when it is not on this layer: adapters may target different
/// layers.
pub trait LoraLayer: BaseTunerLayer {
    /// The LoRA state.
    fn lora(&self) -> &LoraLinear;

    /// The LoRA state, to be changed.
    fn lora_mut(&mut self) -> &mut LoraLinear;

    /// Adds an adapter, or makes it anew. It trains if its name is among the active ones.
    ///
    /// # Errors
    /// [`TunerError::Rank`] for a rank below 1, [`TunerError::UnsupportedOption`] for `DoRA`, [`TunerError::Merged`] when
    /// an adapter of that name is merged. Nothing has changed then.
    fn update_layer(&mut self, name: &str, options: LoraOptions) -> Result<(), TunerError> {
        let lora = self.lora_mut();
        lora.refuse_merged(name)?;
        let adapter = lora.fresh_adapter(name, options)?;
        lora.insert(name, adapter);
        lora.apply_trainability()
    }

    /// Rank of an adapter.
    fn rank(&self, adapter: &str) -> Option<i64> {
        self.lora().adapter(adapter).map(|adapter| adapter.options.rank)
    }

    /// Numerator of an adapter's scaling.
    fn lora_alpha(&self, adapter: &str) -> Option<f64> {
        self.lora().adapter(adapter).map(|adapter| adapter.options.lora_alpha)
    }

    /// The factor on an adapter's contribution now.
    fn scaling(&self, adapter: &str) -> Option<f64> {
        self.lora().adapter(adapter).map(LoraAdapter::scaling)
    }

    /// `A [r, in_features]` of an adapter.
    fn lora_a(&self, adapter: &str) -> Option<&Tensor> {
        self.lora().adapter(adapter).map(LoraAdapter::lora_a)
    }

    /// `B [out_features, r]` of an adapter.
    fn lora_b(&self, adapter: &str) -> Option<&Tensor> {
        self.lora().adapter(adapter).map(LoraAdapter::lora_b)
    }

    /// Sets an adapter's scaling to `scale` times its initial value, `alpha / r` or `alpha / sqrt(r)`.
    ///
    /// # Errors
    /// [`TunerError::Scale`] for a scale that is not finite, [`TunerError::Merged`] while the adapter is merged.
    fn set_scale(&mut self, adapter: &str, scale: f64) -> Result<(), TunerError> {
        self.lora_mut().rescale(&[adapter], scale, |initial, _| initial * scale)
    }

    /// Multiplies the scaling of every active adapter.
    ///
    /// # Errors
    /// Those of [`set_scale`](Self::set_scale).
    fn scale_layer(&mut self, scale: f64) -> Result<(), TunerError> {
        self.lora_mut().rescale_active(scale, |_, now| now * scale)
    }

    /// Divides the scaling of every active adapter by `scale`, or resets it with `None`.
    ///
    /// # Errors
    /// Those of [`set_scale`](Self::set_scale), and [`TunerError::Scale`] for a scale of 0.
    fn unscale_layer(&mut self, scale: Option<f64>) -> Result<(), TunerError> {
        match scale {
            None => self.lora_mut().rescale_active(1.0, |initial, _| initial),
            Some(0.0) => Err(TunerError::Scale { scale: 0.0, expected: " other than 0" }),
            Some(scale) => self.lora_mut().rescale_active(scale, |_, now| now / scale),
        }
    }

    /// Draws an adapter's weights anew, in place.
    ///
    /// # Errors
    /// [`TunerError::Merged`] while the adapter is merged.
    fn reset_lora_parameters(&mut self, adapter: &str, init: &InitLoraWeights) -> Result<(), TunerError> {
        let lora = self.lora_mut();
        lora.refuse_merged(adapter)?;
        match lora.adapters.get_mut(adapter).map(|adapter| adapter.redraw(init)) {
            Some(Err(source)) => Err(lora.torch("the adapter's initialisation", source)),
            _ => Ok(()),
        }
    }

    /// The weight delta of an adapter, `scaling * B A`, f32 `[out_features, in_features]`.
    ///
    /// # Errors
    /// [`TunerError::Layer`] when the dense tensor cannot be made.
    fn delta_weight(&self, adapter: &str) -> Result<Option<Tensor>, TunerError> {
        let lora = self.lora();
        let delta = lora.adapter(adapter).map(LoraAdapter::delta).transpose();
        delta.map_err(|source| lora.torch("the adapter's delta", source))
    }
}
