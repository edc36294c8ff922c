//! Formats that qtuner knows by name, and the crates that bring them.

use crate::QuantBackend;

/// How to link the backend of a format, for error messages.
///
/// ```
/// use qtuner_core::registry::registration_hint;
/// assert!(registration_hint("awq").contains("use qtuner_awq as _;"));
/// assert!(registration_hint("hqq").contains("no backend crate"));
/// ```
pub fn registration_hint(format: &str) -> String {
    let package = match format {
        "awq" => "qtuner-awq",
        "gptq" => "qtuner-gptq",
        "bitsandbytes" | "nf4" => "qtuner-nf4",
        "linear" => return "the dense dispatcher is `qtuner_core::dense::DISPATCHER`".to_owned(),
        _ => {
            return format!(
                "no backend crate for \"{format}\" is known here: link the one that brings it (`use its_name as _;`, or its \
                DISPATCHER in the Registry), or write one, see docs/writing-a-backend.md"
            );
        }
    };
    of_package(package)
}

/// The same for a layer that exists, whose crate need not be known here.
pub(super) fn registration_hint_of(layer: &dyn QuantBackend) -> String {
    of_package(&layer.package().name)
}

fn of_package(package: &str) -> String {
    let module = package.replace('-', "_");
    format!(
        "depend on {package} and add `use {module} as _;` to main.rs, or put `{module}::DISPATCHER` into the Registry"
    )
}
