//! The tuner layer as a layer: its forward pass, and what it shows of its base.

use super::LoraLayer;
use crate::{AdapterState, BaseTunerLayer, Layer, LayerError, Mode};
use tch::{Device, Tensor};

impl<T: LoraLayer> Layer for T {
    /// The base's output, plus each active adapter's contribution in the order of activation.
    ///
    /// An adapter computes in its own dtype from the layer's input; the scaled product is rounded once to the dtype of the
    /// base's output, and then added. Disabled adapters contribute nothing, merged ones are in the weight.
    fn forward(&self, x: &Tensor) -> Result<Tensor, LayerError> {
        let lora = self.lora();
        if lora.state == AdapterState::Disabled {
            return lora.base.forward(x);
        }
        let (layer, merged): (&dyn Layer, &[String]) = match &lora.merged {
            Some(merged) => (&*merged.layer, &merged.names),
            None => (&*lora.base, &[]),
        };
        let torch = |source| LayerError::torch(lora.kind_name, "the adapter's forward")(source);
        // Each adapter passes the input on, so that its gradient goes through all of them.
        let mut passed: Option<Tensor> = None;
        let mut begun = Vec::new();
        for name in lora.active.iter().filter(|name| !merged.contains(name)) {
            let Some(adapter) = lora.adapters.get(name) else { continue };
            let dropout = if lora.mode == Mode::Train { adapter.options.lora_dropout } else { 0.0 };
            let made = match adapter.low_rank(passed.as_ref().unwrap_or(x), dropout) {
                Ok(made) => made,
                // What the base has against the input says more.
                Err(source) => return layer.forward(x).and(Err(torch(source))),
            };
            passed = made.passed.or(passed);
            begun.push((adapter, made.low));
        }
        let mut y = layer.forward(passed.as_ref().unwrap_or(x))?;
        for (adapter, low) in begun {
            y = adapter.add_to(y, &low).map_err(torch)?;
        }
        Ok(y)
    }

    fn in_features(&self) -> i64 {
        self.lora().base.in_features()
    }

    fn out_features(&self) -> i64 {
        self.lora().base.out_features()
    }

    fn kind_name(&self) -> &'static str {
        self.lora().kind_name
    }

    fn device(&self) -> Device {
        self.lora().base.device()
    }

    fn named_tensors(&self) -> Vec<(&'static str, Tensor)> {
        self.lora().base.named_tensors()
    }

    fn shallow_clone(&self) -> Box<dyn Layer> {
        Box::new(self.lora().second_handle())
    }

    fn parameter_count(&self) -> i64 {
        let adapters = self.adapter_parameters().into_iter().map(|(_, parameter)| parameter.numel());
        self.lora().base.parameter_count() + i64::try_from(adapters.sum::<usize>()).unwrap_or(i64::MAX)
    }

    fn as_tuner(&self) -> Option<&dyn BaseTunerLayer> {
        Some(self)
    }

    fn as_tuner_mut(&mut self) -> Option<&mut dyn BaseTunerLayer> {
        Some(self)
    }

    fn as_lora(&self) -> Option<&dyn LoraLayer> {
        Some(self)
    }

    fn as_lora_mut(&mut self) -> Option<&mut dyn LoraLayer> {
        Some(self)
    }
}
