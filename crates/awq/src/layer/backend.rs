//! What `WqLinearGemm` is to the rest of qtuner: a layer and a quantized backend.

use super::{KIND_NAME, WqLinearGemm};
use crate::extension::Route;
use qtuner_core::{Capabilities, Layer, LayerError, Package, QuantBackend};
use semver::Version;
use tch::{Device, Kind, Tensor};

impl Layer for WqLinearGemm {
    fn forward(&self, x: &Tensor) -> Result<Tensor, LayerError> {
        let takes = self.capabilities().input_kinds;
        let fits = x.size().last() == Some(&self.in_features);
        if !fits || !takes.contains(&x.kind()) || x.device() != self.device() {
            return Err(LayerError::Input {
                layer: format!("{self:?}"),
                found: format!("dtype {:?} and shape {:?} on {:?}", x.kind(), x.size(), x.device()),
                expected: format!(
                    "dtype in {takes:?} and shape [..., {}] on {:?}",
                    self.in_features,
                    self.device()
                ),
            });
        }
        self.gemm(Route::Dispatched, x).map_err(|error| error.of_layer(format!("{self:?}")))
    }

    fn in_features(&self) -> i64 {
        self.in_features
    }

    fn out_features(&self) -> i64 {
        self.out_features
    }

    fn kind_name(&self) -> &'static str {
        KIND_NAME
    }

    fn device(&self) -> Device {
        self.tensors.qweight.device()
    }

    fn named_tensors(&self) -> Vec<(&'static str, Tensor)> {
        let mut tensors = vec![
            ("qweight", self.tensors.qweight.shallow_clone()),
            ("qzeros", self.tensors.qzeros.shallow_clone()),
            ("scales", self.tensors.scales.shallow_clone()),
        ];
        tensors.extend(self.tensors.bias.as_ref().map(|bias| ("bias", bias.shallow_clone())));
        tensors
    }

    fn shallow_clone(&self) -> Box<dyn Layer> {
        Box::new(self.second_handle())
    }

    fn as_quantized(&self) -> Option<&dyn QuantBackend> {
        Some(self)
    }
}

impl QuantBackend for WqLinearGemm {
    fn format(&self) -> &'static str {
        "awq"
    }

    fn package(&self) -> Package {
        this_package()
    }

    fn dequantize(&self, kind: Kind) -> Result<Tensor, LayerError> {
        let dequantize = || {
            let weight = self.dequantize_gemm()?.f_transpose(0, 1).and_then(|weight| weight.f_to_kind(kind));
            weight.and_then(|weight| weight.f_contiguous()).map_err(crate::AwqError::torch("dequantizing"))
        };
        dequantize().map_err(|error| error.of_layer(format!("{self:?}")))
    }

    fn qweight(&self) -> Tensor {
        self.tensors.qweight.shallow_clone()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::new(self.group_size)
    }

    fn arranged_for(&self, kind: Kind) -> Result<Option<Box<dyn Layer>>, LayerError> {
        let tensors = self.tensors.arranged_for(kind, self.group_size);
        let tensors = tensors.map_err(|error| error.of_layer(format!("{self:?}")))?;
        Ok(tensors.map(|tensors| Box::new(Self { tensors, ..*self }) as Box<dyn Layer>))
    }
}

/// This crate and its version.
fn this_package() -> Package {
    Package {
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: Version::parse(env!("CARGO_PKG_VERSION"))
            .expect("Cargo's own versions are semantic versions"),
    }
}
