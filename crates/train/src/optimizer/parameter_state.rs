//! What AdamW remembers of one parameter.

use tch::{Kind, TchError, Tensor};

/// The moments of one parameter, and where it is too coarse to be moved itself, a copy that is not.
///
/// In f16, `(1 - beta2) * g * g` and epsilon round to 0, and the update is 0 / 0; in bf16, most updates are below half of the
/// parameter's spacing, and adding them changes nothing. So the moments and the value that moves are f32 there.
#[derive(Debug)]
pub(super) struct ParameterState {
    /// The mean of the gradients.
    pub(super) exp_avg: Tensor,
    /// The mean of their squares.
    pub(super) exp_avg_sq: Tensor,
    /// The value of a half-precision parameter before it was rounded.
    pub(super) master: Option<Tensor>,
}

impl ParameterState {
    /// That of a `parameter` that has seen no gradient yet.
    pub(super) fn new(parameter: &Tensor) -> Result<Self, TchError> {
        let value = parameter.f_detach()?;
        let master = match value.kind() {
            Kind::Half | Kind::BFloat16 => Some(value.f_to_kind(Kind::Float)?),
            _ => None,
        };
        let moved = master.as_ref().unwrap_or(&value);
        Ok(Self { exp_avg: moved.f_zeros_like()?, exp_avg_sq: moved.f_zeros_like()?, master })
    }
}
