//! The reference: a layer's weight in f64, and what its forward and backward passes give, with bounds.

use crate::approx::{Approx, UNIT_F32, smallest, unit};
use crate::run::{Broken, Verdict};
use qtuner_core::{Layer, LoraLayer};
use tch::{Kind, Tensor};

/// A layer as a dense one: `W [out, in]`, `b [out]`, in f64.
pub(crate) struct Dense {
    weight: Tensor,
    bias: Option<Tensor>,
    /// By how much the layer's weight may differ from `weight`, `[out, in]`: rounding of a merge.
    weight_error: Option<Tensor>,
}

/// One adapter in f64: `A [r, in]`, `B [out, r]`.
#[derive(Debug)]
pub(crate) struct Adapter {
    pub(crate) a: Tensor,
    pub(crate) b: Tensor,
    pub(crate) rank: i64,
    pub(crate) scaling: f64,
}

impl Adapter {
    /// Copies of the values of an adapter of `lora`.
    pub(crate) fn of(lora: &dyn LoraLayer, name: &str) -> Verdict<Self> {
        match (lora.lora_a(name), lora.lora_b(name), lora.rank(name), lora.scaling(name)) {
            (Some(a), Some(b), Some(rank), Some(scaling)) => {
                let copied = |tensor: &Tensor| tensor.detach().to_kind(Kind::Double).copy();
                Ok(Self { a: copied(a), b: copied(b), rank, scaling })
            }
            _ => Err(Broken::new(format!("adapter \"{name}\" is not on {lora:?}"))),
        }
    }

    /// `scaling * B (A x)`, computed in f32 and rounded to `kind`.
    pub(crate) fn contribution(&self, x: &Tensor, kind: Kind) -> Approx {
        let through =
            |x: &Tensor, a: &Tensor, b: &Tensor| x.matmul(&a.transpose(0, 1)).matmul(&b.transpose(0, 1));
        let value = through(x, &self.a, &self.b) * self.scaling;
        let magnitude = through(&x.abs(), &self.a.abs(), &self.b.abs()) * self.scaling.abs();
        // Two sums, the scaling's own rounding to f32 and the product with it.
        Approx::summed(value, &magnitude, x.size().last().copied().unwrap_or(0) + self.rank + 2)
            .rounded_to(kind)
    }
}

impl Dense {
    /// The weight that `layer` stands for, by its own `dequantize` or its tensor `weight`.
    pub(crate) fn of(layer: &dyn Layer) -> Verdict<Self> {
        let weight = match layer.as_quantized() {
            Some(quantized) => quantized.dequantize(Kind::Float)?,
            None => layer
                .named_tensors()
                .into_iter()
                .find(|(name, _)| *name == "weight")
                .map(|(_, weight)| weight)
                .ok_or_else(|| {
                    let text = "has no tensor `weight`, and `as_quantized` does not say that it is packed";
                    Broken::new(format!("{layer:?} {text}"))
                })?,
        };
        let expected = [layer.out_features(), layer.in_features()];
        if weight.size() != expected {
            let found = weight.size();
            return Err(Broken::new(format!(
                "{layer:?}: the dense weight is {found:?}, expected {expected:?}"
            )));
        }
        let double = |tensor: Tensor| tensor.detach().to_kind(Kind::Double);
        Ok(Self { weight: double(weight), bias: layer.bias().map(double), weight_error: None })
    }

    /// The output for `x`, accumulated in f32, in the dtype of `x`.
    ///
    /// A half-precision layer may do what a dense one of that dtype does: hold its weight and bias in it, and round before
    /// and after the bias is added.
    pub(crate) fn forward(&self, x: &Tensor) -> Approx {
        let kind = x.kind();
        let x = x.detach().to_kind(Kind::Double);
        let product = x.matmul(&self.weight.transpose(0, 1));
        let magnitude = x.abs().matmul(&self.weight.abs().transpose(0, 1));
        let (value, magnitude) = match &self.bias {
            Some(bias) => (&product + bias, magnitude + bias.abs()),
            None => (product.shallow_clone(), magnitude),
        };
        let terms = self.weight.size()[1] + 1;
        let mut output = Approx::summed(value, &magnitude, terms);
        if let Some(error) = &self.weight_error {
            output = output.widened(&x.abs().matmul(&error.transpose(0, 1)));
        }
        let before_bias = product.abs() * unit(kind) + smallest(kind);
        output.widened(&before_bias).widened(&half_operands(kind, &magnitude)).rounded_to(kind)
    }

    /// The gradient to the input for the gradient `grad_y` of the output.
    pub(crate) fn grad_input(&self, grad_y: &Tensor) -> Approx {
        let kind = grad_y.kind();
        let grad_y = grad_y.detach().to_kind(Kind::Double);
        let magnitude = grad_y.abs().matmul(&self.weight.abs());
        Approx::summed(grad_y.matmul(&self.weight), &magnitude, self.weight.size()[0])
            .widened(&half_operands(kind, &magnitude))
            .rounded_to(kind)
    }

    /// The layer with the deltas of `adapters` in its weight, summed in f32 and rounded once to `storage`.
    pub(crate) fn merged(&self, adapters: &[&Adapter], storage: Kind) -> Self {
        let mut weight = self.weight.copy();
        let mut magnitude = self.weight.zeros_like();
        let mut terms = 1;
        for adapter in adapters {
            weight += adapter.b.matmul(&adapter.a) * adapter.scaling;
            magnitude += adapter.b.abs().matmul(&adapter.a.abs()) * adapter.scaling.abs();
            terms += adapter.rank + 3;
        }
        #[allow(clippy::cast_precision_loss, reason = "ranks are far below 2^53")]
        let delta_error = magnitude * (terms as f64 * UNIT_F32);
        let rounding = weight.abs() * (UNIT_F32 + unit(storage)) + smallest(storage);
        let weight_error = Some(delta_error + rounding);
        Self { weight, bias: self.bias.as_ref().map(Tensor::shallow_clone), weight_error }
    }

    /// The output with the contributions of `adapters` added to `base` in this order, each sum rounded to `kind`.
    pub(crate) fn adapted(base: Approx, adapters: &[&Adapter], x: &Tensor) -> Approx {
        let kind = x.kind();
        let x = x.detach().to_kind(Kind::Double);
        adapters.iter().fold(base, |sum, adapter| sum.plus(&adapter.contribution(&x, kind)).rounded_to(kind))
    }

    /// The weight in f64.
    pub(crate) fn weight(&self) -> &Tensor {
        &self.weight
    }
}

/// The rounding of weight and bias to a half-precision dtype; nothing for f32.
fn half_operands(kind: Kind, magnitude: &Tensor) -> Tensor {
    let unit = if kind == Kind::Float { 0.0 } else { unit(kind) };
    magnitude * unit
}

/// The dtype that a layer's merged weight is rounded to: a dense layer's own, the input's for a packed one.
pub(crate) fn merge_storage(layer: &dyn Layer, input_kind: Kind) -> Kind {
    let weight = layer.named_tensors().into_iter().find(|(name, _)| *name == "weight");
    weight.map_or(input_kind, |(_, weight)| weight.kind())
}
