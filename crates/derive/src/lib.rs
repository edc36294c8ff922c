//! `#[derive(ModuleTree)]`: walks a model's fields by name.
//!
//! Use it through `qtuner_core::ModuleTree`, where the trait and the attributes are documented.

mod attributes;
mod expand;

use proc_macro::TokenStream;

/// Implements `qtuner_core::ModuleTree` for a struct or an enum.
///
/// Every field is visited in order under its own name (a tuple field under its index; the single field of a tuple
/// variant under the enum's own name). Attributes of a field:
///
/// - `#[module(skip)]`: the field holds no slots and no parameters.
/// - `#[module(rename = "q_proj")]`: the checkpoint's name for it.
/// - `#[module(head)]`: it is the output head, which `target_modules = "all-linear"` leaves out.
///
/// A field whose type is not a `ModuleTree` is a compile error.
#[proc_macro_derive(ModuleTree, attributes(module))]
pub fn derive_module_tree(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as syn::DeriveInput);
    expand::module_tree(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}
