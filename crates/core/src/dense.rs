//! The built-in backend: dense linear layers, asked last.

use crate::registry::{Claim, DispatchError, Dispatcher, LayerSource, LoadError};
use crate::{Layer, Linear, LoraLayer, LoraLinear, LoraOptions};
use tch::Kind;

/// The registry entry of dense layers.
pub const DISPATCHER: Dispatcher = Dispatcher::new("linear", crate::source!(), claims, check, wrap)
    .with_priority(i16::MIN)
    .with_loader(load);

inventory::submit! { DISPATCHER }

fn claims(layer: &dyn Layer) -> Claim {
    if layer.innermost().downcast_ref::<Linear>().is_some() { Claim::Yes } else { Claim::No }
}

fn check(_layer: &dyn Layer, options: &LoraOptions) -> Result<(), DispatchError> {
    if options.use_dora {
        return Err(DispatchError::UnsupportedOption {
            backend: "linear",
            option: "use_dora = true".to_owned(),
            hint: "set `use_dora` to false".to_owned(),
        });
    }
    Ok(())
}

fn wrap(
    layer: &dyn Layer,
    adapter_name: &str,
    options: &LoraOptions,
) -> Result<Box<dyn LoraLayer>, DispatchError> {
    Ok(Box::new(LoraLinear::new(layer.shallow_clone(), adapter_name, options.clone())?))
}

/// Takes a layer of a floating `weight [out_features, in_features]` and at most a `bias`, in the model's compute dtype.
fn load(source: &LayerSource<'_>) -> Result<Option<Box<dyn Layer>>, LoadError> {
    let is_dense = |kind: Kind| matches!(kind, Kind::Float | Kind::Half | Kind::BFloat16 | Kind::Double);
    let alone = source.tensors.keys().all(|name| name == "weight" || name == "bias");
    let weight = source.info("weight").and_then(|info| info.kind);
    if !alone || !weight.is_some_and(is_dense) {
        return Ok(None);
    }
    let tensor = |name: &str| source.tensor_as(name, source.compute_kind);
    let bias = source.info("bias").map(|_| tensor("bias")).transpose()?;
    let layer = Linear::new(tensor("weight")?, bias).map_err(LoadError::layer(source))?;
    Ok(Some(Box::new(layer)))
}
