//! The dense linear layer: `y = x W^T + b`, the built-in backend.

use super::{Layer, LayerError, MergeDelta};
use crate::extension::linear;
use std::fmt;
use tch::{Device, Kind, Tensor};

/// A dense linear layer over a weight `[out_features, in_features]` of any floating dtype.
///
/// It shares the tensors it is given, so the weights of a `tch::nn::Linear` or of a `VarStore` stay the caller's own:
///
/// ```
/// use qtuner_core::{Layer, Linear};
/// use tch::{nn, Device, Kind, Tensor};
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let dense = nn::linear(vs.root() / "up", 8, 16, nn::LinearConfig::default());
/// let layer = Linear::try_from(&dense)?;
/// assert_eq!((layer.in_features(), layer.out_features()), (8, 16));
/// # Ok::<(), qtuner_core::LayerError>(())
/// ```
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
    in_features: i64,
    out_features: i64,
}

const KIND_NAME: &str = "Linear";

impl Linear {
    /// A layer over `weight [out_features, in_features]` and `bias [out_features]`; the tensors are shared, not copied.
    ///
    /// # Errors
    /// [`LayerError::Tensor`] for a weight that is not a floating matrix, or a bias of another length, dtype or device.
    pub fn new(weight: Tensor, bias: Option<Tensor>) -> Result<Self, LayerError> {
        let refuse = |tensor: &str, found: &Tensor, expected: String| LayerError::Tensor {
            layer: KIND_NAME.to_owned(),
            tensor: tensor.to_owned(),
            found: format!("{:?} {:?}", found.kind(), found.size()),
            expected,
        };
        let (out_features, in_features) = match weight.size()[..] {
            [out, input] if weight.is_floating_point() => (out, input),
            _ => return Err(refuse("weight", &weight, "a floating [out_features, in_features]".to_owned())),
        };
        if let Some(bias) = &bias
            && (bias.size() != [out_features]
                || bias.kind() != weight.kind()
                || bias.device() != weight.device())
        {
            return Err(refuse("bias", bias, format!("{:?} [{out_features}]", weight.kind())));
        }
        Ok(Self { weight, bias, in_features, out_features })
    }

    /// The weight `[out_features, in_features]`.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }
}

impl TryFrom<&tch::nn::Linear> for Linear {
    type Error = LayerError;

    /// Shares the weight and bias of a tch layer.
    fn try_from(dense: &tch::nn::Linear) -> Result<Self, LayerError> {
        Self::new(dense.ws.shallow_clone(), dense.bs.as_ref().map(Tensor::shallow_clone))
    }
}

impl fmt::Debug for Linear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{KIND_NAME}(in_features={}, out_features={}, bias={}, dtype={:?})",
            self.in_features,
            self.out_features,
            self.bias.is_some(),
            self.weight.kind()
        )
    }
}

impl Layer for Linear {
    fn forward(&self, x: &Tensor) -> Result<Tensor, LayerError> {
        let features = x.size().last().copied();
        if features != Some(self.in_features) || x.kind() != self.weight.kind() {
            return Err(LayerError::Input {
                layer: format!("{self:?}"),
                found: format!("dtype {:?} and shape {:?}", x.kind(), x.size()),
                expected: format!("dtype {:?} and shape [..., {}]", self.weight.kind(), self.in_features),
            });
        }
        linear(x, &self.weight, self.bias.as_ref())
            .map_err(|error| LayerError::torch(format!("{self:?}"), "linear")(error))
    }

    fn in_features(&self) -> i64 {
        self.in_features
    }

    fn out_features(&self) -> i64 {
        self.out_features
    }

    fn kind_name(&self) -> &'static str {
        KIND_NAME
    }

    fn device(&self) -> Device {
        self.weight.device()
    }

    fn named_tensors(&self) -> Vec<(&'static str, Tensor)> {
        let mut tensors = vec![("weight", self.weight.shallow_clone())];
        tensors.extend(self.bias.as_ref().map(|bias| ("bias", bias.shallow_clone())));
        tensors
    }

    fn shallow_clone(&self) -> Box<dyn Layer> {
        Box::new(Self {
            weight: self.weight.shallow_clone(),
            bias: self.bias.as_ref().map(Tensor::shallow_clone),
            ..*self
        })
    }

    fn as_merge(&self) -> Option<&dyn MergeDelta> {
        Some(self)
    }
}

impl MergeDelta for Linear {
    fn merged_with(&self, delta: &Tensor, bias_delta: Option<&Tensor>) -> Result<Box<dyn Layer>, LayerError> {
        let layer = format!("{self:?}");
        let input =
            |found: String, expected: String| LayerError::Input { layer: layer.clone(), found, expected };
        if delta.size() != self.weight.size() {
            return Err(input(
                format!("a delta of shape {:?}", delta.size()),
                format!("{:?}", self.weight.size()),
            ));
        }
        let bias = match (&self.bias, bias_delta) {
            (bias, None) => bias.as_ref().map(Tensor::shallow_clone),
            (Some(bias), Some(delta)) => Some(add_rounding_once(bias, delta, &layer)?),
            (None, Some(_)) => {
                return Err(input("a bias delta".to_owned(), "none, there is no bias".to_owned()));
            }
        };
        Ok(Box::new(Self { weight: add_rounding_once(&self.weight, delta, &layer)?, bias, ..*self }))
    }
}

/// `tensor + delta`, summed in at least f32 and rounded once to the tensor's dtype.
fn add_rounding_once(tensor: &Tensor, delta: &Tensor, layer: &str) -> Result<Tensor, LayerError> {
    let kind = tensor.kind();
    let wide = if kind == Kind::Double { Kind::Double } else { Kind::Float };
    let sum = |tensor: &Tensor| {
        tensor.f_detach()?.f_to_kind(wide)?.f_add(&delta.f_detach()?.f_to_kind(wide)?)?.f_to_kind(kind)
    };
    sum(tensor).map_err(LayerError::torch(layer, "merge"))
}
