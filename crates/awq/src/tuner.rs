//! LoRA over AWQ under PEFT's name, with AWQ's constraints.

use crate::layer::KIND_NAME;
use qtuner_core::{Layer, LoraLayer, LoraLinear, LoraOptions, QuantBackend, TunerError};
use std::fmt;
use tch::Tensor;

/// PEFT's `AwqLoraLinear`: adapters over a `WQLinear_GEMM` layer.
///
/// The LoRA itself is [`LoraLinear`]'s, the one implementation for every backend. What is AWQ's own: `DoRA` is refused, and
/// merging is a typed error, since the packed codes have no room for the sum.
///
/// ```
/// use qtuner_awq::{AwqLoraLinear, WqLinearGemm};
/// use qtuner_core::{BaseTunerLayer, Layer, LoraOptions};
/// use tch::{Device, Kind, Tensor};
///
/// let weight = Tensor::randn([64, 128], (Kind::Float, Device::Cpu));
/// let base = WqLinearGemm::from_dense(&weight, None, 32, Kind::Half)?;
/// let lora = AwqLoraLinear::new(Box::new(base), "default", LoraOptions::default().with_rank(8))?;
/// assert!(format!("{lora:?}").starts_with("lora.AwqLoraLinear("));
/// assert_eq!(lora.adapter_names(), ["default"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct AwqLoraLinear {
    lora: LoraLinear,
}

impl AwqLoraLinear {
    /// Wraps `base_layer` (an AWQ GEMM layer, or a tuner layer around one) and gives it its first adapter.
    ///
    /// PEFT's constructor defaults are [`LoraOptions::default`]'s: rank 0, which is refused like every rank below 1,
    /// `lora_alpha` 1, `lora_dropout` 0.0, `init_lora_weights` true, and `use_rslora`, `use_dora`, `lora_bias` false.
    ///
    /// # Errors
    /// [`TunerError::UnsupportedOption`] for `use_dora` and for a base of another kind, [`TunerError::Rank`] for a rank
    /// below 1.
    pub fn new(
        base_layer: Box<dyn Layer>,
        adapter_name: &str,
        options: impl Into<LoraOptions>,
    ) -> Result<Self, TunerError> {
        let options = options.into();
        let refuse = |option: String, hint: &str| {
            Err(TunerError::UnsupportedOption {
                layer: "lora.AwqLoraLinear".to_owned(),
                option,
                hint: hint.to_owned(),
            })
        };
        if !is_awq_gemm(&*base_layer) {
            return refuse(format!("a base layer {base_layer:?}"), "wrap a WQLinear_GEMM layer");
        }
        if options.use_dora {
            return refuse(
                "use_dora = true".to_owned(),
                "DoRA needs the dense weight; set `use_dora` to false",
            );
        }
        let lora = LoraLinear::new(base_layer, adapter_name, options)?.with_kind_name("lora.AwqLoraLinear");
        Ok(Self { lora })
    }

    /// The wrapped layer, under the name that PEFT's class has for it; the same as
    /// [`base_layer`](qtuner_core::BaseTunerLayer::base_layer).
    pub fn quant_linear_module(&self) -> &dyn Layer {
        use qtuner_core::BaseTunerLayer;
        self.base_layer()
    }

    /// The packed codes `int32 [in_features, out_features / 8]` of the base layer: the same storage, not a copy.
    pub fn qweight(&self) -> Tensor {
        // The constructor takes quantized layers alone, so the empty tensor is never given.
        self.quant_linear_module().innermost().as_quantized().map(QuantBackend::qweight).unwrap_or_default()
    }
}

/// Whether the innermost layer is in AWQ's GEMM format, from whatever package.
pub(crate) fn is_awq_gemm(layer: &dyn Layer) -> bool {
    let layer = layer.innermost();
    layer.kind_name() == KIND_NAME && layer.as_quantized().is_some_and(|layer| layer.format() == "awq")
}

impl LoraLayer for AwqLoraLinear {
    fn lora(&self) -> &LoraLinear {
        &self.lora
    }

    fn lora_mut(&mut self) -> &mut LoraLinear {
        &mut self.lora
    }
}

impl fmt::Debug for AwqLoraLinear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lora.fmt(f)
    }
}
