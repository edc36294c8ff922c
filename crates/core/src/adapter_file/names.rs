//! Names of tensors in the file and in the model.

/// What PEFT puts before a module's name: its wrapper and the wrapper in it.
pub(super) const PREFIX: &str = "base_model.model.";

/// The file's name of an adapter parameter, given the module and the parameter's name below it
/// (`lora_A.<adapter>.weight`): the adapter's name is not in the file.
pub(super) fn file_name(module: &str, parameter: &str, adapter: &str) -> String {
    let (head, tail) = parameter.split_once('.').unwrap_or((parameter, ""));
    let tail = tail.strip_prefix(adapter).unwrap_or(tail);
    format!("{PREFIX}{module}.{head}{tail}")
}

/// The file's name of a bias that trains: of an adapted layer, or of any other module.
pub(super) fn bias_name(parameter: &str, adapted: bool) -> String {
    match parameter.strip_suffix(".bias").filter(|_| adapted) {
        Some(module) => format!("{PREFIX}{module}.base_layer.bias"),
        None => format!("{PREFIX}{parameter}"),
    }
}

/// A name as PEFT's wrapped models save it: its low-level interface leaves the prefix out.
pub(super) fn with_prefix(name: &str) -> String {
    if name.starts_with(PREFIX) { name.to_owned() } else { format!("{PREFIX}{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adapter_called_like_a_part_of_a_name_takes_only_its_own_segment_away() {
        for adapter in ["default", "weight", "lora_A", "self_attn", "a"] {
            let name = file_name("layers.0.self_attn.q_proj", &format!("lora_A.{adapter}.weight"), adapter);
            assert_eq!(name, "base_model.model.layers.0.self_attn.q_proj.lora_A.weight");
            let bias = file_name("up", &format!("lora_B.{adapter}.bias"), adapter);
            assert_eq!(bias, "base_model.model.up.lora_B.bias");
        }
    }

    #[test]
    fn both_forms_of_a_name_are_one() {
        assert_eq!(with_prefix("up.lora_A.weight"), with_prefix("base_model.model.up.lora_A.weight"));
    }
}
