//! Min-max rounding of a dense weight, with zero inside the range.
//!
//! Per output column and group of inputs: `lo = min(w, 0)`, `hi = max(w, 0)`, `s = max(hi - lo, 1e-5) / 15` rounded to the
//! dtype of the scales, `z = clamp(-round(lo / s), 0, 15)`, `q = clamp(round(w / s) + z, 0, 15)`, rounding half to even.
//!
//! AutoAWQ does the same without forcing zero into the range, and with it destroys groups that lie on one side of zero:
//! values of 0.5 to 0.6 all become 0.1. Codes are computed from the rounded scale, since that is what they are read with.

use super::pack::pack;
use super::tensors::{AwqTensors, refuse_non_finite};
use crate::AwqError;
use tch::{Kind, TchError, Tensor};

/// The packed form of `weight [out, in]`.
///
/// # Errors
/// [`AwqError::Tensor`] for a weight that is no floating matrix, [`AwqError::Size`] for sizes that the format cannot hold,
/// [`AwqError::NotFinite`] for infinities and NaN.
pub(crate) fn quantize(
    weight: &Tensor,
    bias: Option<&Tensor>,
    group_size: i64,
    scales_kind: Kind,
) -> Result<AwqTensors, AwqError> {
    let (out_features, in_features) = match weight.size()[..] {
        [out, input] if weight.is_floating_point() => (out, input),
        _ => {
            return Err(AwqError::Tensor {
                tensor: "weight",
                found: format!("{:?} {:?}", weight.kind(), weight.size()),
                expected: "a floating [out_features, in_features]".to_owned(),
            });
        }
    };
    let group_size = if group_size == -1 { in_features } else { group_size };
    if group_size < 1 || in_features % group_size != 0 {
        let expected = format!("-1 or a divisor of in_features, {in_features}");
        return Err(AwqError::Size { quantity: "group_size", found: group_size, expected });
    }
    if out_features < 1 || out_features % 8 != 0 {
        let expected = "a positive multiple of 8".to_owned();
        return Err(AwqError::Size { quantity: "out_features", found: out_features, expected });
    }
    if !matches!(scales_kind, Kind::Half | Kind::BFloat16 | Kind::Float) {
        return Err(AwqError::Tensor {
            tensor: "scales",
            found: format!("{scales_kind:?}"),
            expected: "Half, BFloat16 or Float".to_owned(),
        });
    }
    refuse_non_finite("weight", weight)?;
    let groups = in_features / group_size;
    let (codes, zeros, scales) = round(weight, [groups, group_size, out_features], scales_kind)
        .map_err(AwqError::torch("rounding the weight"))?;
    Ok(AwqTensors {
        qweight: pack(&codes)?,
        qzeros: pack(&zeros)?,
        scales,
        bias: bias.map(|bias| bias.detach().copy()),
    })
}

/// Codes `[in, out]`, zeros and scales `[groups, out]`.
fn round(
    weight: &Tensor,
    [groups, group_size, out_features]: [i64; 3],
    scales_kind: Kind,
) -> Result<(Tensor, Tensor, Tensor), TchError> {
    let _guard = tch::no_grad_guard();
    let w =
        weight.f_to_kind(Kind::Double)?.f_transpose(0, 1)?.f_reshape([groups, group_size, out_features])?;
    let lo = w.f_amin([1i64].as_slice(), true)?.f_clamp_max(0.0)?;
    let hi = w.f_amax([1i64].as_slice(), true)?.f_clamp_min(0.0)?;
    let step = (hi.f_sub(&lo)?.f_clamp_min(1e-5)?).f_divide_scalar(15.0)?;
    // A step beyond the dtype's range would become infinite: the largest finite one clips instead.
    let scales = step.f_clamp_max(largest(scales_kind))?.f_to_kind(scales_kind)?;
    let step = scales.f_to_kind(Kind::Double)?;
    let zeros = lo.f_div(&step)?.f_round()?.f_neg()?.f_clamp(0.0, 15.0)?;
    let codes = w.f_div(&step)?.f_round()?.f_add(&zeros)?.f_clamp(0.0, 15.0)?;
    Ok((
        codes.f_to_kind(Kind::Int)?.f_reshape([groups * group_size, out_features])?,
        zeros.f_to_kind(Kind::Int)?.f_reshape([groups, out_features])?,
        scales.f_reshape([groups, out_features])?,
    ))
}

fn largest(kind: Kind) -> f64 {
    match kind {
        Kind::Half => f64::from(half::f16::MAX),
        Kind::BFloat16 => f64::from(half::bf16::MAX),
        _ => f64::from(f32::MAX),
    }
}
