//! Which layers the AWQ backend claims, and its entry in the registry.

use crate::extension::is_available;
use crate::load::load;
use crate::tuner::{AwqLoraLinear, is_awq_gemm};
use qtuner_core::registry::{Claim, DispatchError, Dispatcher};
use qtuner_core::{Layer, LoraLayer, LoraOptions, register_dispatcher, source};
use semver::Version;

/// The oldest version of the package that provides the layer: AutoAWQ's layers have this layout since then.
pub const MINIMUM_VERSION: Version = Version::new(0, 2, 0);

/// The registry entry of AWQ layers.
pub const DISPATCHER: Dispatcher = Dispatcher::new("awq", source!(), claims, check, wrap).with_loader(load);

register_dispatcher!(DISPATCHER);

/// Wraps `target` if it is an AWQ GEMM layer, or a tuner layer around one; `None` if it is not, or if the extension is not
/// registered. The wrapper's `qweight` is the base layer's, shared and not copied. `target` stays as it is.
///
/// ```
/// use qtuner_awq::{dispatch_awq, WqLinearGemm};
/// use qtuner_core::{Linear, LoraConfig};
/// use tch::{Device, Kind, Tensor};
///
/// let weight = Tensor::randn([64, 128], (Kind::Float, Device::Cpu));
/// let awq = WqLinearGemm::from_dense(&weight, None, 32, Kind::Half)?;
/// let config = LoraConfig::default();
/// let wrapper = dispatch_awq(&awq, "default", &config)?.expect("it is an AWQ layer");
/// assert_eq!(wrapper.qweight().data_ptr(), awq.qweight().data_ptr());
/// assert!(dispatch_awq(&Linear::new(weight, None)?, "default", &config)?.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`DispatchError::IncompatibleVersion`] when the package that provides the layer is older than [`MINIMUM_VERSION`],
/// [`DispatchError::UnsupportedOption`] for `DoRA`, and the wrapper's own errors.
pub fn dispatch_awq(
    target: &dyn Layer,
    adapter_name: &str,
    config: impl Into<LoraOptions>,
) -> Result<Option<AwqLoraLinear>, DispatchError> {
    let options = config.into();
    if claims(target) != Claim::Yes {
        return Ok(None);
    }
    check(target, &options)?;
    Ok(Some(AwqLoraLinear::new(target.shallow_clone(), adapter_name, options)?))
}

/// Whether the extension's operators are there to compute with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extension {
    Registered,
    Missing,
}

fn claims(layer: &dyn Layer) -> Claim {
    claim_with(layer, if is_available() { Extension::Registered } else { Extension::Missing })
}

fn claim_with(layer: &dyn Layer, extension: Extension) -> Claim {
    match extension {
        _ if !is_awq_gemm(layer) => {
            let awq = layer.innermost().as_quantized().filter(|layer| layer.format() == "awq");
            awq.map_or(Claim::No, |awq| {
                Claim::Almost(format!("{awq:?} is AWQ, but in another layout than WQLinear_GEMM"))
            })
        }
        Extension::Registered => Claim::Yes,
        Extension::Missing => {
            Claim::Almost("the libtorch extension qtuner_awq::gemm is not registered".to_owned())
        }
    }
}

fn check(layer: &dyn Layer, options: &LoraOptions) -> Result<(), DispatchError> {
    let package = layer.innermost().as_quantized().map(qtuner_core::QuantBackend::package);
    if let Some(package) = package.filter(|package| package.version < MINIMUM_VERSION) {
        return Err(DispatchError::IncompatibleVersion {
            found: package.to_string(),
            expected: format!("at least {MINIMUM_VERSION}"),
            hint: format!("update {}", package.name),
        });
    }
    if options.use_dora {
        return Err(DispatchError::UnsupportedOption {
            backend: "awq",
            option: "use_dora = true".to_owned(),
            hint: "DoRA needs the dense weight; set `use_dora` to false".to_owned(),
        });
    }
    Ok(())
}

fn wrap(
    layer: &dyn Layer,
    adapter_name: &str,
    options: &LoraOptions,
) -> Result<Box<dyn LoraLayer>, DispatchError> {
    Ok(Box::new(AwqLoraLinear::new(layer.shallow_clone(), adapter_name, options.clone())?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::WqLinearGemm;
    use tch::{Device, Kind, Tensor};

    #[test]
    fn a_missing_extension_is_declined_with_the_reason() {
        let weight = Tensor::randn([8, 32], (Kind::Float, Device::Cpu));
        let layer = WqLinearGemm::from_dense(&weight, None, 32, Kind::Half).unwrap();
        assert_eq!(claim_with(&layer, Extension::Registered), Claim::Yes);
        match claim_with(&layer, Extension::Missing) {
            Claim::Almost(reason) => {
                assert!(reason.contains("qtuner_awq::gemm is not registered"), "{reason}");
            }
            other => panic!("{other:?}"),
        }
    }
}
