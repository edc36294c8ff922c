//! A backward pass that starts with a gradient, and computing without any.

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

/// Runs `body` in `PyTorch`'s `torch.inference_mode()`: no gradients, nor the records that would allow for them later, which
/// small operators spend a good part of their time on.
///
/// Tensors made in it can be read anywhere, but are written in it alone, and are no good for a graph.
///
/// ```
/// use tch::Tensor;
/// let x = Tensor::from_slice(&[1_f32, 2.0]).set_requires_grad(true);
/// let y = qtuner_core::autograd::inference_mode(|| &x * 2.0)?;
/// assert_eq!(Vec::<f32>::try_from(&y)?, [2.0, 4.0]);
/// assert!(!y.requires_grad() && (&x * 2.0).requires_grad());
/// assert!(x.f_mul(&y).is_err());
/// # Ok::<(), tch::TchError>(())
/// ```
///
/// # Errors
/// When libtorch has no memory for the guard.
pub fn inference_mode<T>(body: impl FnOnce() -> T) -> Result<T, TchError> {
    let _guard = extension::InferenceMode::enter()?;
    Ok(body())
}
