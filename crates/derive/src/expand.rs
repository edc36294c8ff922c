//! The generated `impl ModuleTree`.
//!
//! Both methods match on `self` and visit each bound field, so structs and enums are the same case: a struct is an enum
//! of one variant.

use crate::attributes::{Role, Visit};
use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Fields, Member, Result};

/// Which of the two methods is generated.
#[derive(Clone, Copy)]
enum Method {
    Leaves,
    LeavesMut,
}

impl Method {
    fn ident(self) -> Ident {
        match self {
            Self::Leaves => format_ident!("leaves"),
            Self::LeavesMut => format_ident!("leaves_mut"),
        }
    }
}

/// The `impl` block for `input`.
pub(crate) fn module_tree(input: &DeriveInput) -> Result<TokenStream> {
    let name = &input.ident;
    let mut generics = input.generics.clone();
    for parameter in generics.type_params_mut() {
        parameter.bounds.push(syn::parse_quote!(::qtuner_core::ModuleTree));
    }
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    let leaves = arms(input, Method::Leaves)?;
    let leaves_mut = arms(input, Method::LeavesMut)?;
    Ok(quote! {
        #[automatically_derived]
        impl #impl_generics ::qtuner_core::ModuleTree for #name #type_generics #where_clause {
            #[allow(unused_variables)]
            fn leaves<'__m>(
                &'__m self,
                __path: &::qtuner_core::ModulePath,
                __leaves: &mut ::qtuner_core::Leaves<'__m>,
            ) {
                match self { #leaves }
            }

            #[allow(unused_variables)]
            fn leaves_mut<'__m>(
                &'__m mut self,
                __path: &::qtuner_core::ModulePath,
                __leaves: &mut ::qtuner_core::LeavesMut<'__m>,
            ) {
                match self { #leaves_mut }
            }
        }
    })
}

/// One match arm for each variant, or one for the struct.
fn arms(input: &DeriveInput, method: Method) -> Result<TokenStream> {
    match &input.data {
        Data::Struct(data) => arm(&quote!(Self), &data.fields, Wrapper::Struct, method),
        Data::Enum(data) if data.variants.is_empty() => Ok(quote!(_ => {})),
        Data::Enum(data) => data
            .variants
            .iter()
            .map(|variant| {
                let ident = &variant.ident;
                arm(&quote!(Self::#ident), &variant.fields, Wrapper::Variant, method)
            })
            .collect(),
        Data::Union(data) => Err(syn::Error::new(
            data.union_token.span,
            "ModuleTree cannot be derived for a union: which field is live is not known",
        )),
    }
}

/// Whether the fields are a struct's or a variant's: `Mlp(DenseMlp)` is the tree that it holds, under its own name.
#[derive(Clone, Copy)]
enum Wrapper {
    Struct,
    Variant,
}

fn arm(pattern: &TokenStream, fields: &Fields, wrapper: Wrapper, method: Method) -> Result<TokenStream> {
    let transparent =
        matches!((wrapper, fields), (Wrapper::Variant, Fields::Unnamed(fields)) if fields.unnamed.len() == 1);
    let mut bindings = Vec::new();
    let mut visits = Vec::new();
    for (index, field) in fields.iter().enumerate() {
        let Visit::As { rename, role } = Visit::of(field)? else { continue };
        let binding = format_ident!("__field{index}");
        let member = field.ident.clone().map_or_else(|| Member::from(index), Member::from);
        let path = match (rename, &field.ident) {
            (Some(name), _) => quote!(&__path.child(#name)),
            (None, Some(ident)) => {
                let name = ident.to_string();
                let name = name.trim_start_matches("r#");
                quote!(&__path.child(#name))
            }
            (None, None) if transparent => quote!(__path),
            (None, None) => quote!(&__path.child(#index)),
        };
        let method = method.ident();
        let head = (role == Role::Head).then(|| quote!(__leaves.mark_head(#path);));
        // The call carries the field's type as its span, so that a type which is no tree is underlined where it stands.
        visits.push(quote_spanned! { field.ty.span() =>
            #head
            ::qtuner_core::ModuleTree::#method(#binding, #path, __leaves);
        });
        bindings.push(quote!(#member: #binding));
    }
    Ok(quote! { #pattern { #(#bindings,)* .. } => { #(#visits)* } })
}
