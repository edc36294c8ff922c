//! Who is measured: this crate's layer in three dtypes, both ways, and libtorch's int4 and dense products.

use crate::cycle::Cycle;
use crate::limits::Limits;
use crate::shape::Shape;
use crate::table::{Ours, Row};
use crate::timing::Contender;
use clap::ValueEnum;
use qtuner_awq::{AwqError, WqLinearGemm, unpack};
use qtuner_core::{Layer, QuantBackend};
use std::error::Error;
use tch::{Device, Kind, Tensor};

/// A dtype of activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Input {
    /// bfloat16
    Bf16,
    /// float16
    F16,
    /// float32
    F32,
}

impl Input {
    /// All of them, in the order of the tables.
    pub(crate) const ALL: [Self; 3] = [Self::Bf16, Self::F16, Self::F32];

    /// As the tables call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::F32 => "f32",
        }
    }

    /// libtorch's word for it.
    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Bf16 => Kind::BFloat16,
            Self::F16 => Kind::Half,
            Self::F32 => Kind::Float,
        }
    }
}

/// Copies of one layer, in every form.
pub(crate) struct Contenders {
    shape: Shape,
    /// For bf16, and for f16 and f32.
    layers: [Cycle<WqLinearGemm>; 2],
    bf16: Cycle<Tensor>,
    f32: Cycle<Tensor>,
    int4: Option<Int4>,
}

/// libtorch's packed weight, and its scales and offsets.
type Int4 = Cycle<(Tensor, Tensor)>;

/// Random weights in the shape.
pub(crate) fn layer(shape: Shape) -> Result<WqLinearGemm, AwqError> {
    let weight = Tensor::randn([shape.output, shape.input], (Kind::Float, Device::Cpu)) * 0.02;
    WqLinearGemm::from_dense(&weight, None, shape.group, Kind::Half)
}

/// A second layer with memory of its own.
pub(crate) fn copy(layer: &WqLinearGemm) -> Result<WqLinearGemm, AwqError> {
    let [qweight, qzeros, scales] = [layer.qweight(), layer.qzeros(), layer.scales()].map(Tensor::copy);
    WqLinearGemm::from_tensors(qweight, qzeros, scales, None)
}

/// Activations.
pub(crate) fn activations(rows: i64, width: i64, kind: Kind) -> Tensor {
    Tensor::randn([rows, width], (Kind::Float, Device::Cpu)).to_kind(kind)
}

impl Contenders {
    /// Makes the copies.
    pub(crate) fn new(shape: Shape) -> Result<Self, Box<dyn Error>> {
        let layer = layer(shape)?;
        let bytes = shape.packed_bytes();
        let dense = |kind: Kind| -> Result<Cycle<Tensor>, Box<dyn Error>> {
            let weight = layer.dequantize(kind)?;
            // A code is half a byte.
            let bytes = bytes * if kind == Kind::Float { 8.0 } else { 4.0 };
            Cycle::new(bytes, || Ok(weight.copy()))
        };
        let arranged = |kind: Kind| -> Result<Cycle<WqLinearGemm>, AwqError> {
            Cycle::new(bytes, || copy(&layer)?.into_arranged_for(kind))
        };
        Ok(Self {
            shape,
            layers: [arranged(Kind::BFloat16)?, arranged(Kind::Half)?],
            bf16: dense(Kind::BFloat16)?,
            f32: dense(Kind::Float)?,
            int4: int4(&layer, shape)?,
        })
    }

    /// Measures products of so many rows.
    pub(crate) fn row(&self, rows: i64, limits: &Limits) -> Row {
        let Shape { input, output, .. } = self.shape;
        let bf16 = activations(rows, input, Kind::BFloat16);
        let f32 = activations(rows, input, Kind::Float);
        let mut contenders: Vec<Contender<'_>> = vec![
            Box::new(|| bf16.linear(self.bf16.next(), None::<&Tensor>)),
            Box::new(|| f32.linear(self.f32.next(), None::<&Tensor>)),
            Box::new(|| match &self.int4 {
                Some(copies) => {
                    let (weight, scales) = copies.next();
                    bf16.internal_weight_int4pack_mm_for_cpu(weight, self.shape.group, scales)
                }
                None => Tensor::new(),
            }),
        ];
        for input_kind in Input::ALL {
            let kind = input_kind.kind();
            let x = activations(rows, input, kind);
            let layers = &self.layers[usize::from(input_kind != Input::Bf16)];
            contenders.push(Box::new(move || layers.next().forward(&x).expect("the input fits")));
            let grad = activations(rows, output, kind);
            contenders.push(Box::new(move || layers.next().grad_input(&grad).expect("the gradient fits")));
        }
        let (limits, times) = limits.beside(&contenders);
        let ours = |at: usize| Ours { forward: times[at], backward: times[at + 1] };
        Row {
            rows,
            limits,
            int4: self.int4.is_some().then_some(times[2]),
            dense_bf16: times[0],
            dense_f32: times[1],
            ours: [ours(3), ours(5), ours(7)],
        }
    }
}

/// libtorch's packing of the same codes, where it takes the shape.
fn int4(layer: &WqLinearGemm, shape: Shape) -> Result<Option<Int4>, Box<dyn Error>> {
    if ![32, 64, 128, 256].contains(&shape.group) || shape.output % 64 != 0 {
        return Ok(None);
    }
    let codes = unpack(layer.qweight())?.f_transpose(0, 1)?.f_contiguous()?;
    let weight = codes.f_internal_convert_weight_to_int4pack_for_cpu(2)?;
    let scales = layer.scales().f_to_kind(Kind::Float)?;
    let offsets = (unpack(layer.qzeros())?.f_to_kind(Kind::Float)?.f_neg()? + 8.0).f_mul(&scales)?;
    let scales = Tensor::f_stack(&[scales, offsets], 2)?.f_to_kind(Kind::BFloat16)?.f_contiguous()?;
    Cycle::new(shape.packed_bytes(), || Ok((weight.copy(), scales.copy()))).map(Some)
}

/// How often the kernel runs to be counted.
pub(crate) const COUNTED: usize = 200;

/// Nothing but the kernel, so that another program can count its instructions.
pub(crate) fn count(shape: Shape, rows: i64, input: Input) -> Result<(), AwqError> {
    let layer = layer(shape)?;
    let layers = Cycle::new(shape.packed_bytes(), || copy(&layer)?.into_arranged_for(input.kind()))?;
    let x = activations(rows, shape.input, input.kind());
    for _ in 0..COUNTED {
        let y = layers.next().forward(&x).expect("the input fits");
        drop(std::hint::black_box(y));
    }
    Ok(())
}
