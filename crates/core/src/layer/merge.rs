//! Folding a low-rank delta into a layer's own weight.

use super::{Layer, LayerError};
use tch::Tensor;

/// A layer whose storage can take a delta.
///
/// The result is a layer of its own and `self` stays as it is, so unmerging is dropping the result: the original
/// comes back bit for bit, whatever its format.
pub trait MergeDelta {
    /// A new layer with weight `W + delta` and, where given, bias `b + bias_delta`.
    ///
    /// `delta` is f32 `[out_features, in_features]`, `bias_delta` f32 `[out_features]`. The sum is taken in f32 (f64 for
    /// an f64 layer) and rounded once to the layer's dtype.
    ///
    /// # Errors
    /// [`LayerError::Input`] for a delta of another shape, or a bias delta on a layer without a bias.
    fn merged_with(&self, delta: &Tensor, bias_delta: Option<&Tensor>) -> Result<Box<dyn Layer>, LayerError>;
}
