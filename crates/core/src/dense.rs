//! The built-in backend: dense linear layers, asked last.

use crate::registry::{Claim, DispatchError, Dispatcher};
use crate::{Layer, Linear, LoraLayer, LoraLinear, LoraOptions};

/// The registry entry of dense layers.
pub const DISPATCHER: Dispatcher =
    Dispatcher::new("linear", crate::source!(), claims, check, wrap).with_priority(i16::MIN);

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
