//! What `#[module(...)]` says of a field.

use syn::{Field, LitStr, Result};

/// How one field is visited.
pub(crate) enum Visit {
    /// Under its own name, or under `rename`.
    As { rename: Option<String>, role: Role },
    /// Not at all.
    Skip,
}

/// What the field is in the model.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Module,
    Head,
}

impl Visit {
    /// Reads the attributes of `field`; an unknown or contradictory one is an error at its place.
    pub(crate) fn of(field: &Field) -> Result<Self> {
        let mut rename = None;
        let mut role = Role::Module;
        let mut skip = None;
        for attribute in field.attrs.iter().filter(|attribute| attribute.path().is_ident("module")) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("skip") {
                    skip = Some(meta.path.clone());
                } else if meta.path.is_ident("head") {
                    role = Role::Head;
                } else if meta.path.is_ident("rename") {
                    let name: LitStr = meta.value()?.parse()?;
                    let well_formed = name.value().split('.').all(|segment| !segment.is_empty());
                    if !well_formed {
                        return Err(syn::Error::new(name.span(), "a module's name has no empty segment"));
                    }
                    rename = Some(name.value());
                } else {
                    return Err(meta.error("expected `skip`, `head` or `rename = \"...\"`"));
                }
                Ok(())
            })?;
        }
        match skip {
            Some(path) if rename.is_some() || role == Role::Head => {
                Err(syn::Error::new_spanned(path, "a skipped field has no name and no role"))
            }
            Some(_) => Ok(Self::Skip),
            None => Ok(Self::As { rename, role }),
        }
    }
}
