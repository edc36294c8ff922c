//! `WQLinear_GEMM`: AutoAWQ's packed linear layer.

mod backend;

use crate::AwqError;
use crate::extension::{self, Operands, Route};
use crate::format::{self, AwqTensors};
use std::fmt;
use tch::{Kind, Tensor};

/// The name that AutoAWQ's class has, and that this layer prints.
pub(crate) const KIND_NAME: &str = "WQLinear_GEMM";

/// A linear layer in AutoAWQ's GEMM format: 4-bit codes packed along the output, one scale and zero point a group.
///
/// `y = x W + b` with `W [in, out]`, `W[i, o] = (q[i, o] - z[i / group, o]) * s[i / group, o]` rounded once to the dtype of
/// the scales, accumulated in f32. Inputs are f32, bf16 or f16, of any shape `[..., in]`; the output has their dtype. The
/// layer has no training or evaluation state: the same kernel gives the same numbers whether gradients are recorded or not.
///
/// The tensors are kept as they were read, and [`named_tensors`](qtuner_core::Layer::named_tensors) gives them back byte
/// for byte; those of a layer that was [arranged](Self::into_arranged_for) have other strides. Formats and numerics:
/// AutoAWQ's `WQLinear_GEMM` and `dequantize_gemm`.
///
/// ```
/// use qtuner_awq::WqLinearGemm;
/// use qtuner_core::{Layer, QuantBackend};
/// use tch::{Device, Kind, Tensor};
///
/// let weight = Tensor::randn([64, 128], (Kind::Float, Device::Cpu)); // [out, in]
/// let layer = WqLinearGemm::from_dense(&weight, None, 32, Kind::Half)?;
/// let x = Tensor::randn([2, 7, 128], (Kind::Float, Device::Cpu));
/// let y = layer.forward(&x)?;
/// let reference = x.linear(&layer.dequantize(Kind::Float)?, None::<&Tensor>);
/// assert!(y.allclose(&reference, 1e-4, 1e-4, false));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "WQLinear_GEMM")]
pub struct WqLinearGemm {
    tensors: AwqTensors,
    in_features: i64,
    out_features: i64,
    group_size: i64,
}

impl WqLinearGemm {
    /// A layer over checkpoint tensors: `qweight int32 [in, out/8]`, `qzeros int32 [groups, out/8]`,
    /// `scales [groups, out]` (f16, bf16 or f32) and `bias [out]`. Sizes and group size follow from the shapes; the tensors
    /// are shared and keep their dtypes.
    ///
    /// # Errors
    /// [`AwqError::Tensor`] for a shape, dtype or device that does not fit, [`AwqError::NotFinite`] for scales or a bias
    /// that are not finite.
    pub fn from_tensors(
        qweight: Tensor,
        qzeros: Tensor,
        scales: Tensor,
        bias: Option<Tensor>,
    ) -> Result<Self, AwqError> {
        let (tensors, sizes) = AwqTensors { qweight, qzeros, scales, bias }.checked()?;
        Ok(Self {
            tensors,
            in_features: sizes.in_features,
            out_features: sizes.out_features,
            group_size: sizes.group_size,
        })
    }

    /// Packs a dense `weight [out, in]` by min-max rounding with zero inside the range; `group_size` -1 means `in`.
    /// `scales_kind` is f16 (what AutoAWQ writes), bf16 or f32. `bias` is copied in its own dtype.
    ///
    /// # Errors
    /// [`AwqError::Size`] when `out` is no multiple of 8 or the group size does not divide `in`; [`AwqError::Tensor`] and
    /// [`AwqError::NotFinite`] for a weight that cannot be packed.
    pub fn from_dense(
        weight: &Tensor,
        bias: Option<&Tensor>,
        group_size: i64,
        scales_kind: Kind,
    ) -> Result<Self, AwqError> {
        let AwqTensors { qweight, qzeros, scales, bias } =
            format::quantize(weight, bias, group_size, scales_kind)?;
        Self::from_tensors(qweight, qzeros, scales, bias)
    }

    /// The same layer with its codes in the order that this CPU multiplies fastest with activations of dtype `kind`.
    ///
    /// For f32 and f16 on a CPU with AVX-512 (without AMX), `qweight` becomes column-major, if groups are multiples of 32,
    /// at least 64: its shape and values stay, its strides are `[1, in_features]`. Whatever the order, a layer takes every dtype.
    /// [`model::arrange_for`](qtuner_core::model::arrange_for) does this for a whole model.
    ///
    /// ```
    /// use qtuner_awq::WqLinearGemm;
    /// use tch::{Device, Kind, Tensor};
    ///
    /// let weight = Tensor::randn([64, 128], (Kind::Float, Device::Cpu)); // [out, in]
    /// let layer = WqLinearGemm::from_dense(&weight, None, 64, Kind::Half)?;
    /// let codes = layer.qweight().copy();
    /// let layer = layer.into_arranged_for(Kind::Half)?;
    /// assert_eq!(layer.qweight(), &codes);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`AwqError::Torch`] when there is no memory for it.
    pub fn into_arranged_for(self, kind: Kind) -> Result<Self, AwqError> {
        match self.tensors.arranged_for(kind, self.group_size)? {
            Some(tensors) => Ok(Self { tensors, ..self }),
            None => Ok(self),
        }
    }

    /// Checks the group size that a config promises (-1 means `in_features`) against the one of the tensors.
    ///
    /// # Errors
    /// [`AwqError::Size`] when they differ.
    pub fn expect_group_size(&self, group_size: i64) -> Result<(), AwqError> {
        let promised = if group_size == -1 { self.in_features } else { group_size };
        if promised == self.group_size {
            return Ok(());
        }
        let expected = format!("{promised}, as the config says");
        Err(AwqError::Size { quantity: "group_size", found: self.group_size, expected })
    }

    /// How many input features share a scale and a zero point.
    pub fn group_size(&self) -> i64 {
        self.group_size
    }

    /// The packed codes, `int32 [in_features, out_features / 8]`, contiguous or column-major.
    pub fn qweight(&self) -> &Tensor {
        &self.tensors.qweight
    }

    /// The packed zero points, `int32 [groups, out_features / 8]`.
    pub fn qzeros(&self) -> &Tensor {
        &self.tensors.qzeros
    }

    /// The scales `[groups, out_features]`, in the dtype they came in.
    pub fn scales(&self) -> &Tensor {
        &self.tensors.scales
    }

    /// The weight `[in_features, out_features]` in the dtype of the scales, as AutoAWQ's `dequantize_gemm` gives it.
    ///
    /// Computed by ATen operators and not by the kernel, so that each can be held against the other.
    ///
    /// # Errors
    /// [`AwqError::Torch`] when the dense tensor cannot be made.
    pub fn dequantize_gemm(&self) -> Result<Tensor, AwqError> {
        let _guard = tch::no_grad_guard();
        let codes = format::unpack(&self.tensors.qweight)?;
        let zeros = format::unpack(&self.tensors.qzeros)?;
        let dequantize = || {
            let zeros = zeros.f_repeat_interleave_self_int(self.group_size, 0, None)?;
            let scales = self.tensors.scales.f_repeat_interleave_self_int(self.group_size, 0, None)?;
            codes.f_sub(&zeros)?.f_to_kind(scales.kind())?.f_mul(&scales)
        };
        dequantize().map_err(AwqError::torch("dequantizing"))
    }

    /// `grad_y W^T`, of the shape `[..., in_features]` and the dtype of `grad_y [..., out_features]`: what
    /// [`forward`](qtuner_core::Layer::forward) gives its input in a backward pass, for those who write that pass themselves.
    ///
    /// ```
    /// use qtuner_awq::WqLinearGemm;
    /// use qtuner_core::QuantBackend;
    /// use tch::{Device, Kind, Tensor};
    ///
    /// let weight = Tensor::randn([64, 128], (Kind::Float, Device::Cpu)); // [out, in]
    /// let layer = WqLinearGemm::from_dense(&weight, None, 32, Kind::Half)?;
    /// let grad_y = Tensor::randn([7, 64], (Kind::Float, Device::Cpu));
    /// let grad_x = layer.grad_input(&grad_y)?;
    /// assert!(grad_x.allclose(&grad_y.matmul(&layer.dequantize(Kind::Float)?), 1e-4, 1e-4, false));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`AwqError::Extension`] for a dtype, shape or device of `grad_y` that does not fit.
    pub fn grad_input(&self, grad_y: &Tensor) -> Result<Tensor, AwqError> {
        extension::gemm_grad_input(grad_y, self.operands())
    }

    pub(crate) fn gemm(&self, route: Route, x: &Tensor) -> Result<Tensor, AwqError> {
        extension::gemm(route, x, self.operands(), self.tensors.bias.as_ref())
    }

    pub(crate) fn operands(&self) -> Operands<'_> {
        Operands {
            qweight: &self.tensors.qweight,
            qzeros: &self.tensors.qzeros,
            scales: &self.tensors.scales,
        }
    }

    pub(crate) fn second_handle(&self) -> Self {
        Self { tensors: self.tensors.shallow_clone(), ..*self }
    }
}

impl fmt::Debug for WqLinearGemm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{KIND_NAME}(in_features={}, out_features={}, bias={}, w_bit=4, group_size={}, scales={:?})",
            self.in_features,
            self.out_features,
            self.tensors.bias.is_some(),
            self.group_size,
            self.tensors.scales.kind()
        )
    }
}
