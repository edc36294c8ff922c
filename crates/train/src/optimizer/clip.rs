//! The gradients' global norm, and its limit.

use super::Parameters;
use super::parameters::gradient;
use tch::{Kind, TchError};

/// The Euclidean norm of all gradients together.
///
/// # Errors
/// libtorch's.
pub fn grad_norm(parameters: &Parameters) -> Result<f64, TchError> {
    let mut square = 0.0;
    for parameter in parameters.values() {
        if let Some(gradient) = gradient(parameter)? {
            let norm = gradient.f_to_kind(Kind::Float)?.f_norm()?.f_double_value(&[])?;
            square += norm * norm;
        }
    }
    Ok(square.sqrt())
}

/// Scales all gradients so that their norm, which was `norm`, is at most `max_norm`, by PyTorch's factor
/// `max_norm / (norm + 1e-6)`.
///
/// # Errors
/// libtorch's.
pub fn clip_grad_norm(parameters: &Parameters, norm: f64, max_norm: f64) -> Result<(), TchError> {
    let factor = max_norm / (norm + 1e-6);
    if factor >= 1.0 {
        return Ok(());
    }
    let _guard = tch::no_grad_guard();
    for parameter in parameters.values() {
        if let Some(mut gradient) = gradient(parameter)? {
            // libtorch rounds the factor to the gradient's dtype, and a small one is coarse or 0 in f16.
            if matches!(gradient.kind(), Kind::Half | Kind::BFloat16) {
                gradient.f_copy_(&gradient.f_to_kind(Kind::Float)?.f_multiply_scalar(factor)?)?;
            } else {
                let _ = gradient.f_multiply_scalar_(factor)?;
            }
        }
    }
    Ok(())
}
