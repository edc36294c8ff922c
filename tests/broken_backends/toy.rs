//! A toy backend with a switch for faults: int8 codes that whole blocks of inputs share, one scale an output.
//!
//! `W[o, i] = q[o, i / block] * s[o]`, with `qweight int8 [out, in / block]`, `scales f32 [out]`, `bias f32 [out]`. The forward
//! pass sums the inputs of each block and multiplies with the small matrix, so nothing dense is ever made.

use crate::fault::Fault;
use qtuner_core::{Capabilities, Layer, LayerError, Package, QuantBackend, Support};
use semver::Version;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tch::{Device, Kind, TchError, Tensor};

const KIND_NAME: &str = "ToyInt8";

/// The layer.
pub(crate) struct Toy {
    pub(crate) fault: Fault,
    qweight: Tensor,
    scales: Tensor,
    bias: Option<Tensor>,
    block: i64,
    /// The state of [`Fault::LatchesEvaluation`].
    evaluated: Arc<AtomicBool>,
    /// The state of [`Fault::KeepsFirstSteps`].
    kept: Arc<Mutex<Option<Tensor>>>,
}

/// Whether the calling thread records gradients now.
fn records_gradients() -> bool {
    let probe = Tensor::zeros([1], (Kind::Float, Device::Cpu)).set_requires_grad(true);
    (probe * 1.0).requires_grad()
}

impl Toy {
    /// A layer over its tensors; `in_features` cannot be told from them.
    pub(crate) fn new(
        fault: Fault,
        in_features: i64,
        qweight: Tensor,
        scales: Tensor,
        bias: Option<Tensor>,
    ) -> Result<Self, LayerError> {
        let refuse = |name: &str, tensor: &Tensor, expected: String| LayerError::Tensor {
            layer: KIND_NAME.to_owned(),
            tensor: name.to_owned(),
            found: format!("{:?} {:?}", tensor.kind(), tensor.size()),
            expected,
        };
        let out_features = match qweight.size()[..] {
            [out, blocks] if qweight.kind() == Kind::Int8 && blocks > 0 && in_features % blocks == 0 => out,
            _ => return Err(refuse("qweight", &qweight, format!("Int8 [out, a divisor of {in_features}]"))),
        };
        for (name, tensor) in [("scales", Some(&scales)), ("bias", bias.as_ref())] {
            let wrong = |tensor: &&Tensor| tensor.kind() != Kind::Float || tensor.size() != [out_features];
            if let Some(tensor) = tensor.filter(wrong) {
                return Err(refuse(name, tensor, format!("Float [{out_features}]")));
            }
        }
        let block = in_features / qweight.size()[1];
        Ok(Self { fault, qweight, scales, bias, block, evaluated: Arc::default(), kept: Arc::default() })
    }

    fn input_kinds() -> Vec<Kind> {
        vec![Kind::Float, Kind::BFloat16]
    }

    /// `q * s`, `[out, in / block]`.
    fn steps(&self) -> Result<Tensor, TchError> {
        self.qweight.f_to_kind(Kind::Float)?.f_mul(&self.scales.f_unsqueeze(1)?)
    }

    /// The same, made once.
    fn kept_steps(&self) -> Result<Tensor, TchError> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let steps = match kept.take() {
            Some(steps) => steps,
            None => self.steps()?,
        };
        Ok(kept.insert(steps).shallow_clone())
    }

    fn dense(&self) -> Result<Tensor, TchError> {
        self.steps()?.f_repeat_interleave_self_int(self.block, 1, None)
    }

    fn multiply(&self, x: &Tensor) -> Result<Tensor, TchError> {
        let bias = self.bias.as_ref();
        let wide = x.f_to_kind(Kind::Float)?;
        if self.fault == Fault::MakesDenseCopy {
            return wide.f_linear(&self.dense()?, bias)?.f_to_kind(x.kind());
        }
        let keeps = self.fault == Fault::KeepsFirstSteps;
        let mut steps = if keeps { self.kept_steps()? } else { self.steps()? };
        let blocks = steps.size()[1];
        let size: Vec<i64> =
            wide.size().iter().copied().rev().skip(1).rev().chain([blocks, self.block]).collect();
        let mut sums = wide.f_reshape(&size)?.f_sum_dim_intlist([-1i64].as_slice(), false, Kind::Float)?;
        if self.fault == Fault::IgnoresLastGroup {
            sums = sums.f_narrow(-1, 0, blocks - 1)?;
            steps = steps.f_narrow(1, 0, blocks - 1)?;
        }
        let mut y = sums.f_linear(&steps, bias)?;
        if self.fault == Fault::ScalesOutput {
            y = y.f_multiply_scalar(1.001)?;
        }
        if self.fault == Fault::ScalesRecordedOutput && x.requires_grad() {
            y = y.f_multiply_scalar(1.001)?;
        }
        let rows: i64 = x.size().iter().rev().skip(1).product();
        if self.fault == Fault::DoublesGradientOfManyRows && rows >= 100 {
            y = y.f_multiply_scalar(2.0)?.f_sub(&y.f_detach()?)?;
        }
        if self.fault == Fault::LatchesEvaluation && !records_gradients() {
            self.evaluated.store(true, Ordering::Relaxed);
        }
        if self.fault == Fault::DropsGradient || self.evaluated.load(Ordering::Relaxed) {
            y = y.f_detach()?;
        }
        y.f_to_kind(x.kind())
    }
}

impl fmt::Debug for Toy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{KIND_NAME}(in_features={}, out_features={})", self.in_features(), self.out_features())
    }
}

impl Layer for Toy {
    fn forward(&self, x: &Tensor) -> Result<Tensor, LayerError> {
        let fits = x.size().last() == Some(&self.in_features()) && Self::input_kinds().contains(&x.kind());
        if self.fault == Fault::Panics {
            assert!(fits, "an input of shape {:?}", x.size());
        }
        if !fits {
            return Err(LayerError::Input {
                layer: format!("{self:?}"),
                found: format!("dtype {:?} and shape {:?}", x.kind(), x.size()),
                expected: format!(
                    "dtype in {:?} and shape [..., {}]",
                    Self::input_kinds(),
                    self.in_features()
                ),
            });
        }
        self.multiply(x).map_err(LayerError::torch(KIND_NAME, "multiply"))
    }

    fn in_features(&self) -> i64 {
        self.qweight.size()[1] * self.block
    }

    fn out_features(&self) -> i64 {
        self.qweight.size()[0]
    }

    fn kind_name(&self) -> &'static str {
        KIND_NAME
    }

    fn device(&self) -> Device {
        self.qweight.device()
    }

    fn named_tensors(&self) -> Vec<(&'static str, Tensor)> {
        let mut tensors =
            vec![("qweight", self.qweight.shallow_clone()), ("scales", self.scales.shallow_clone())];
        if self.fault != Fault::LosesBias {
            tensors.extend(self.bias.as_ref().map(|bias| ("bias", bias.shallow_clone())));
        }
        tensors
    }

    fn bias(&self) -> Option<Tensor> {
        self.bias.as_ref().map(Tensor::shallow_clone)
    }

    fn shallow_clone(&self) -> Box<dyn Layer> {
        Box::new(Self {
            qweight: self.qweight.shallow_clone(),
            scales: self.scales.shallow_clone(),
            bias: self.bias(),
            evaluated: Arc::clone(&self.evaluated),
            kept: Arc::clone(&self.kept),
            ..*self
        })
    }

    fn as_quantized(&self) -> Option<&dyn QuantBackend> {
        (self.fault != Fault::ForgetsAsQuantized).then_some(self)
    }
}

impl QuantBackend for Toy {
    fn format(&self) -> &'static str {
        "toy"
    }

    fn package(&self) -> Package {
        Package { name: "toy".to_owned(), version: Version::new(1, 0, 0) }
    }

    fn dequantize(&self, kind: Kind) -> Result<Tensor, LayerError> {
        let dense = self.dense().and_then(|dense| dense.f_to_kind(kind));
        dense.map_err(LayerError::torch(KIND_NAME, "dequantize"))
    }

    fn qweight(&self) -> Tensor {
        self.qweight.shallow_clone()
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::new(self.block);
        capabilities.input_kinds = Self::input_kinds();
        if self.fault == Fault::ClaimsMerge {
            capabilities.merge = Support::Yes;
        }
        capabilities
    }
}
