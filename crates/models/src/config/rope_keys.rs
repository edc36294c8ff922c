//! Which keys of a config say how to rotate, and which goes before which: as transformers 5 reads them.
//!
//! Two spellings: `rope_theta` and `rope_scaling` side by side, and `rope_parameters`, which holds both (for models whose kinds
//! of layers are rotated differently, once a kind). A file may mix them. Where transformers' reading is at odds with what the
//! file says, there is an error.

use super::fields::Fields;
use super::{RopeConfig, RopeScaling};
use crate::ModelError;

const FULL: &str = "full_attention";
const SLIDING: &str = "sliding_attention";

/// The rotation of a model with one for all layers.
pub(super) fn of_model(config: &Fields<'_>) -> Result<RopeConfig, ModelError> {
    // All of `rope_parameters` is dropped for a `rope_scaling` that holds anything.
    let scaling = config.object("rope_scaling")?.filter(|scaling| !scaling.is_empty());
    let own = match scaling {
        Some(scaling) => Some(scaling),
        None => config.object("rope_parameters")?,
    };
    for kind in [FULL, SLIDING] {
        if let Some(own) = own.as_ref().filter(|own| own.value(kind).is_some()) {
            return Err(own.refuse(kind, "nothing: all layers of this family are rotated alike"));
        }
    }
    Source { own, config, theta: ("rope_theta", 10_000.0), is_of_a_kind: false }.rotation()
}

/// The rotations of global and of local layers, of a model with one for each.
pub(super) fn of_kinds(config: &Fields<'_>) -> Result<(RopeConfig, RopeConfig), ModelError> {
    let parameters = config.object("rope_parameters")?;
    let of_kind = |kind| match &parameters {
        Some(parameters) => parameters.object(kind),
        None => Ok(None),
    };
    let (full, sliding) = (of_kind(FULL)?, of_kind(SLIDING)?);
    if let Some(parameters) = &parameters {
        // transformers passes over rotations that are of no kind.
        if !parameters.is_empty() && !parameters.has(FULL) && !parameters.has(SLIDING) {
            return Err(parameters.refuse(FULL, "an object: kinds of layers are rotated differently"));
        }
        refuse_unrounded_ramp(parameters)?;
    }
    let full = match config.object("rope_scaling")? {
        Some(scaling) => {
            refuse_a_type_passed_over(&scaling, full.as_ref())?;
            Some(scaling.over(full.as_ref()))
        }
        None => full.clone(),
    };
    let source = |own, theta| Source { own, config, theta, is_of_a_kind: true };
    Ok((
        source(full, ("rope_theta", 1_000_000.0)).rotation()?,
        source(sliding, ("rope_local_base_freq", 10_000.0)).rotation()?,
    ))
}

/// transformers 5 reads `type` only where there is no `rope_type`, and a kind's rotation that `rope_scaling` updates may have
/// one. Without such a rotation the file is one of transformers 4, which reads the `type`.
fn refuse_a_type_passed_over(scaling: &Fields<'_>, full: Option<&Fields<'_>>) -> Result<(), ModelError> {
    let Some(full) = full else { return Ok(()) };
    let kept = full.optional_string("rope_type")?;
    match (scaling.optional_string("type")?, kept) {
        (Some(found), Some(kept)) if found != kept && !scaling.has("rope_type") => Err(scaling.refuse(
            "type",
            format!(
                "its value under the key `rope_type`: transformers 5 passes over `type` here, for \"{kept}\""
            ),
        )),
        _ => Ok(()),
    }
}

/// transformers looks for `truncate` beside the kinds of layers, not in them: a file may mean either.
fn refuse_unrounded_ramp(fields: &Fields<'_>) -> Result<(), ModelError> {
    match fields.optional_flag("truncate")? {
        Some(false) => Err(fields.refuse("truncate", "true where kinds of layers are rotated differently")),
        _ => Ok(()),
    }
}

/// The key of a scaling's type; older files spell it `type`.
fn type_key(own: &Fields<'_>) -> &'static str {
    if own.value("rope_type").is_some() { "rope_type" } else { "type" }
}

/// Where one rotation is read.
struct Source<'a> {
    /// The rotation's own object.
    own: Option<Fields<'a>>,
    /// The whole config.
    config: &'a Fields<'a>,
    /// The config's key for a base that the object does not have, and the family's default.
    theta: (&'static str, f64),
    /// Whether it is the rotation of one kind of layers.
    is_of_a_kind: bool,
}

impl Source<'_> {
    fn rotation(&self) -> Result<RopeConfig, ModelError> {
        let (key, default) = self.theta;
        let own = match &self.own {
            Some(own) => own.optional_positive("rope_theta")?,
            None => None,
        };
        let above = self.config.optional_positive(key)?;
        // A config of transformers 4 has its base at the top, and transformers 4 reads no other.
        let is_old = !self.config.has("rope_parameters");
        let theta = if is_old { above.or(own) } else { own.or(above) }.unwrap_or(default);
        let scaling = match &self.own {
            Some(own) => self.scaling(own)?,
            None => RopeScaling::None,
        };
        Ok(RopeConfig { theta, scaling })
    }

    fn scaling(&self, own: &Fields<'_>) -> Result<RopeScaling, ModelError> {
        refuse_partial(own)?;
        let scaling = match own.optional_string(type_key(own))? {
            // Beside it transformers passes over a `partial_rotary_factor` of the config.
            None | Some("default") => return Ok(RopeScaling::None),
            Some("linear") => RopeScaling::Linear { factor: own.positive("factor")? },
            Some("dynamic") => RopeScaling::Dynamic {
                factor: own.positive("factor")?,
                max_position_embeddings: self.config.size("max_position_embeddings")?,
            },
            Some("llama3") => self.llama3(own)?,
            Some("yarn") => self.yarn(own)?,
            Some(_) => return Err(own.refuse(type_key(own), "default, linear, dynamic, llama3 or yarn")),
        };
        refuse_partial(self.config)?;
        Ok(scaling)
    }

    /// The context trained on. The config's goes before the rotation's own, but is not seen by that of a kind.
    fn original_context(&self, own: &Fields<'_>) -> Result<i64, ModelError> {
        let key = "original_max_position_embeddings";
        let above = if self.is_of_a_kind { None } else { self.config.optional_size(key)? };
        match (above, own.optional_size(key)?) {
            (Some(context), _) | (None, Some(context)) => Ok(context),
            (None, None) => self.config.size("max_position_embeddings"),
        }
    }

    fn llama3(&self, own: &Fields<'_>) -> Result<RopeScaling, ModelError> {
        let low_freq_factor = own.positive("low_freq_factor")?;
        let high_freq_factor = own.positive("high_freq_factor")?;
        if high_freq_factor <= low_freq_factor {
            return Err(
                own.refuse("high_freq_factor", format!("more than low_freq_factor, {low_freq_factor}"))
            );
        }
        Ok(RopeScaling::Llama3 {
            factor: own.positive("factor")?,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings: self.original_context(own)?,
        })
    }

    #[allow(clippy::cast_precision_loss, reason = "context lengths are below 2^31")]
    fn yarn(&self, own: &Fields<'_>) -> Result<RopeScaling, ModelError> {
        if self.is_of_a_kind {
            refuse_unrounded_ramp(own)?;
        }
        let original = self.original_context(own)?;
        let factor = match own.optional_positive("factor")? {
            Some(factor) => factor,
            None => self.config.size("max_position_embeddings")? as f64 / original as f64,
        };
        let scale = |mscale: f64| if factor <= 1.0 { 1.0 } else { 0.1 * mscale * factor.ln() + 1.0 };
        let mscales = (own.optional_positive("mscale")?, own.optional_positive("mscale_all_dim")?);
        let attention_factor = match (own.optional_positive("attention_factor")?, mscales) {
            (Some(attention_factor), _) => attention_factor,
            (None, (Some(mscale), Some(all))) => scale(mscale) / scale(all),
            (None, _) => scale(1.0),
        };
        Ok(RopeScaling::Yarn {
            factor,
            original_max_position_embeddings: original,
            beta_fast: own.optional_positive("beta_fast")?.unwrap_or(32.0),
            beta_slow: own.optional_positive("beta_slow")?.unwrap_or(1.0),
            attention_factor,
            truncate: own.optional_flag("truncate")?.unwrap_or(true),
        })
    }
}

fn refuse_partial(fields: &Fields<'_>) -> Result<(), ModelError> {
    match fields.optional_positive("partial_rotary_factor")? {
        Some(factor) if factor < 1.0 => {
            Err(fields.refuse("partial_rotary_factor", "1.0: partial rotation is not built in"))
        }
        _ => Ok(()),
    }
}
