//! The four tensors of one layer, checked against the format.

use crate::AwqError;
use crate::kernel::{self, Major};
use half::{bf16, f16};
use tch::{Device, Kind, Tensor};

/// The tensors of one `WQLinear_GEMM`, of shapes and dtypes that fit each other; contiguous, but for a `qweight` that is
/// column-major.
#[derive(Debug)]
pub(crate) struct AwqTensors {
    pub(crate) qweight: Tensor,
    pub(crate) qzeros: Tensor,
    pub(crate) scales: Tensor,
    pub(crate) bias: Option<Tensor>,
}

/// The sizes that the shapes imply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) in_features: i64,
    pub(crate) out_features: i64,
    pub(crate) group_size: i64,
}

impl AwqTensors {
    /// Checks the tensors and says what sizes they imply.
    ///
    /// # Errors
    /// The first rule of the format that they break.
    pub(crate) fn checked(self) -> Result<(Self, Sizes), AwqError> {
        let Self { qweight, qzeros, scales, bias } = self;
        let (in_features, words) = match qweight.size()[..] {
            [rows, words] if qweight.kind() == Kind::Int && rows > 0 && words > 0 => (rows, words),
            _ => return Err(refused("qweight", &qweight, "Int [in_features, out_features / 8]".to_owned())),
        };
        let out_features = words * 8;
        let is_float = matches!(scales.kind(), Kind::Half | Kind::BFloat16 | Kind::Float);
        let groups = match scales.size()[..] {
            [groups, columns]
                if is_float && columns == out_features && groups > 0 && in_features % groups == 0 =>
            {
                groups
            }
            _ => {
                let expected =
                    format!("Half, BFloat16 or Float [a divisor of {in_features}, {out_features}]");
                return Err(refused("scales", &scales, expected));
            }
        };
        if qzeros.kind() != Kind::Int || qzeros.size() != [groups, words] {
            return Err(refused("qzeros", &qzeros, format!("Int [{groups}, {words}]")));
        }
        if let Some(bias) = &bias
            && (!bias.is_floating_point() || bias.size() != [out_features])
        {
            return Err(refused("bias", bias, format!("a floating [{out_features}]")));
        }
        for (name, tensor) in [("qzeros", Some(&qzeros)), ("scales", Some(&scales)), ("bias", bias.as_ref())]
        {
            if let Some(tensor) = tensor.filter(|tensor| tensor.device() != qweight.device()) {
                return Err(AwqError::Tensor {
                    tensor: name,
                    found: format!("device {:?}", tensor.device()),
                    expected: format!("that of qweight, {:?}", qweight.device()),
                });
            }
        }
        refuse_non_finite("scales", &scales)?;
        if let Some(bias) = &bias {
            refuse_non_finite("bias", bias)?;
        }
        let contiguous =
            |tensor: Tensor| tensor.f_contiguous().map_err(AwqError::torch("making a tensor contiguous"));
        let column_major = is_column_major(&qweight) && kernel::takes_columns(in_features / groups);
        let tensors = Self {
            qweight: if column_major { qweight } else { contiguous(qweight)? },
            qzeros: contiguous(qzeros)?,
            scales: contiguous(scales)?,
            bias: bias.map(contiguous).transpose()?,
        };
        Ok((tensors, Sizes { in_features, out_features, group_size: in_features / groups }))
    }

    /// The same tensors with the words of `qweight` in the order that is fastest for activations of such a dtype, if they are in
    /// another.
    ///
    /// # Errors
    /// [`AwqError::Torch`] when there is no memory for it.
    pub(crate) fn arranged_for(&self, kind: Kind, group_size: i64) -> Result<Option<Self>, AwqError> {
        let order = match kind {
            Kind::Float => kernel::fastest_order::<f32>(group_size),
            Kind::Half => kernel::fastest_order::<f16>(group_size),
            _ => kernel::fastest_order::<bf16>(group_size),
        };
        let qweight = &self.qweight;
        let arranged = match (order, is_column_major(qweight)) {
            _ if qweight.device() != Device::Cpu => return Ok(None),
            (Major::Row, false) | (Major::Column, true) => return Ok(None),
            (Major::Row, true) => qweight.f_contiguous(),
            (Major::Column, false) => {
                qweight.f_transpose(0, 1).and_then(|words| words.f_contiguous()?.f_transpose(0, 1))
            }
        };
        let qweight = arranged.map_err(AwqError::torch("arranging the codes"))?;
        Ok(Some(Self { qweight, ..self.shallow_clone() }))
    }

    /// A second handle on the same storage.
    pub(crate) fn shallow_clone(&self) -> Self {
        Self {
            qweight: self.qweight.shallow_clone(),
            qzeros: self.qzeros.shallow_clone(),
            scales: self.scales.shallow_clone(),
            bias: self.bias.as_ref().map(Tensor::shallow_clone),
        }
    }
}

/// Whether the rows of each word lie side by side.
fn is_column_major(words: &Tensor) -> bool {
    matches!((&words.size()[..], &words.stride()[..]), ([rows, columns], [1, stride]) if stride == rows && *columns > 1)
}

fn refused(tensor: &'static str, found: &Tensor, expected: String) -> AwqError {
    AwqError::Tensor { tensor, found: format!("{:?} {:?}", found.kind(), found.size()), expected }
}

pub(super) fn refuse_non_finite(tensor: &'static str, values: &Tensor) -> Result<(), AwqError> {
    let finite = || bool::try_from(values.f_isfinite()?.f_all()?);
    if finite().map_err(AwqError::torch("the finite check"))? {
        Ok(())
    } else {
        Err(AwqError::NotFinite { tensor })
    }
}
