//! Formats that qtuner knows by name, and the crates that bring them.

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
                "no backend crate for \"{format}\" is known here; write one, see docs/writing-a-backend.md"
            );
        }
    };
    let module = package.replace('-', "_");
    format!(
        "depend on {package} and add `use {module} as _;` to main.rs, or put `{module}::DISPATCHER` into the Registry"
    )
}
