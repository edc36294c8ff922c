//! A quantized layer, and what it can do.

use crate::{Layer, LayerError};
use semver::Version;
use std::fmt;
use tch::{Device, Kind, Tensor};

/// A layer whose weight is stored in a quantized format.
///
/// Who implements it: a backend crate, together with [`Layer`] (whose [`as_quantized`](Layer::as_quantized) returns
/// `Some(self)`). Who calls it: dispatchers, the tuners, reports and the laws of the test kit. What a backend cannot do is
/// said in [`Capabilities`], and asked for before anything is changed; nothing here has a default that fails.
pub trait QuantBackend: Layer {
    /// The format's name, as `quant_method` in a checkpoint spells it: `awq`, `gptq`, `bitsandbytes`.
    fn format(&self) -> &'static str;

    /// The package whose layer this is, and its version; a dispatcher may ask for a minimum.
    fn package(&self) -> Package;

    /// The weight `[out_features, in_features]` in the dtype `kind`: the definition that every kernel is held to.
    ///
    /// # Errors
    /// [`LayerError::Torch`] when the dense tensor cannot be made.
    fn dequantize(&self, kind: Kind) -> Result<Tensor, LayerError>;

    /// The packed weight as it is stored, sharing its storage.
    fn qweight(&self) -> Tensor;

    /// What the backend can do, as plain data.
    fn capabilities(&self) -> Capabilities;

    /// The same layer with its codes in the order that this machine multiplies fastest with activations of dtype `kind`, if they
    /// are in another: a layer with storage of its own, whose tensors have the same names, dtypes, shapes and values, but
    /// perhaps other strides. It takes every dtype that this one takes.
    ///
    /// # Errors
    /// [`LayerError::Torch`] when there is no memory for it.
    fn arranged_for(&self, kind: Kind) -> Result<Option<Box<dyn Layer>>, LayerError> {
        let _ = kind;
        Ok(None)
    }
}

/// A package's name and version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// The crate or library that provides the layer, such as `qtuner-awq`.
    pub name: String,
    /// Its version.
    pub version: Version,
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// Whether a backend does a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// It does.
    Yes,
    /// It does not, and asking for it is a typed error.
    No,
}

/// What a backend can do. Plain data: asked before a thing is tried, printed in reports.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// Whether a gradient reaches the input. Without it, layers before this one learn nothing.
    pub grad_input: Support,
    /// Whether an adapter can be merged into the stored weight (see [`MergeDelta`](crate::MergeDelta)).
    pub merge: Support,
    /// Whether `DoRA` can be computed over it.
    pub dora: Support,
    /// The dtypes that the input may have.
    pub input_kinds: Vec<Kind>,
    /// The group size of this layer's scales, in input features.
    pub group_size: i64,
    /// The devices whose kernels are the backend's own; others take its fallback.
    pub devices: Vec<Device>,
}

impl Capabilities {
    /// A backend that computes the gradient to its input, for the usual three dtypes on the CPU, and nothing more.
    pub fn new(group_size: i64) -> Self {
        Self {
            grad_input: Support::Yes,
            merge: Support::No,
            dora: Support::No,
            input_kinds: vec![Kind::Float, Kind::BFloat16, Kind::Half],
            group_size,
            devices: vec![Device::Cpu],
        }
    }
}
