//! A backward pass that starts with a gradient.

use crate::extension;
use tch::{TchError, Tensor};

/// `PyTorch`'s `tensor.backward(gradient)`: adds the gradients of `sum(tensor * gradient)` to the leaves that `tensor` was made
/// of, and frees its graph. `tch` has this for a single element and the gradient 1.
///
/// ```
/// use tch::Tensor;
/// let x = Tensor::from_slice(&[1_f32, 2.0]).set_requires_grad(true);
/// let y = &x * &x;
/// qtuner_core::autograd::backward(&y, &Tensor::from_slice(&[10_f32, 1.0]))?;
/// assert_eq!(Vec::<f32>::try_from(x.grad())?, [20.0, 4.0]);
/// # Ok::<(), tch::TchError>(())
/// ```
///
/// # Errors
/// When `tensor` has no graph (any more), when `gradient` is of another shape or an operator of the pass fails. A gradient of
/// another dtype is cast.
pub fn backward(tensor: &Tensor, gradient: &Tensor) -> Result<(), TchError> {
    extension::backward(tensor, gradient)
}
