//! Rotary position embeddings as a config describes them.
//!
//! Two spellings: `rope_theta` and `rope_scaling` side by side, and transformers 5's `rope_parameters`, which holds both (for
//! models with two kinds of layers, once a kind).

use super::fields::Fields;
use crate::ModelError;

/// The rotation of one kind of layers.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeConfig {
    /// The base of the geometric series of frequencies.
    pub theta: f64,
    /// How the frequencies are stretched to longer contexts.
    pub scaling: RopeScaling,
}

/// How a context longer than the one trained on is reached; transformers' `rope_type`.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// `default`: not at all.
    None,
    /// `linear`: every frequency is divided by `factor`.
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// `dynamic`: the base grows with the length of the sequence (the longest of a batch), once that is above
    /// `max_position_embeddings`. From there on nothing can be cached: every new token changes the angles of all.
    Dynamic {
        /// How fast it grows.
        factor: f64,
        /// The length up to which nothing changes.
        max_position_embeddings: i64,
    },
    /// `llama3`: low frequencies are divided by `factor`, high ones are kept, and those between are blended.
    Llama3 {
        /// The divisor of low frequencies.
        factor: f64,
        /// Wavelengths above the original context over this are low frequencies.
        low_freq_factor: f64,
        /// Wavelengths below the original context over this are high frequencies.
        high_freq_factor: f64,
        /// The context trained on.
        original_max_position_embeddings: i64,
    },
    /// `yarn`: a linear ramp over the dimensions blends between divided and kept frequencies, and `attention_factor` scales
    /// the rotation (Peng et al., 2023).
    Yarn {
        /// The divisor of low frequencies.
        factor: f64,
        /// The context trained on.
        original_max_position_embeddings: i64,
        /// Rotations over the context above which a frequency is kept.
        beta_fast: f64,
        /// Rotations over the context below which a frequency is divided.
        beta_slow: f64,
        /// What sine and cosine are multiplied with.
        attention_factor: f64,
        /// Whether the ramp's ends are rounded to whole dimensions.
        truncate: bool,
    },
}

impl RopeConfig {
    /// The rotation by the config's `rope_parameters`, or else by `rope_theta` and `rope_scaling`.
    pub(super) fn read(config: &Fields<'_>, default_theta: f64) -> Result<Self, ModelError> {
        let max_position_embeddings = config.size("max_position_embeddings")?;
        if let Some(parameters) = config.object("rope_parameters")? {
            return Self::from_parameters(&parameters, default_theta, max_position_embeddings);
        }
        let theta = config.optional_positive("rope_theta")?.unwrap_or(default_theta);
        let scaling = match config.object("rope_scaling")? {
            None => RopeScaling::None,
            Some(fields) => RopeScaling::read(&fields, max_position_embeddings)?,
        };
        Ok(Self { theta, scaling })
    }

    /// The rotation by an object that holds all of it.
    pub(super) fn from_parameters(
        fields: &Fields<'_>,
        default_theta: f64,
        max_position_embeddings: i64,
    ) -> Result<Self, ModelError> {
        let theta = fields.optional_positive("rope_theta")?.unwrap_or(default_theta);
        Ok(Self { theta, scaling: RopeScaling::read(fields, max_position_embeddings)? })
    }
}

impl RopeScaling {
    fn read(fields: &Fields<'_>, max_position_embeddings: i64) -> Result<Self, ModelError> {
        // Older files spell the key `type`.
        let key = if fields.value("rope_type").is_some() { "rope_type" } else { "type" };
        if fields.optional_positive("partial_rotary_factor")?.is_some_and(|factor| factor < 1.0) {
            return Err(fields.refuse("partial_rotary_factor", "1.0: partial rotation is not built in"));
        }
        match fields.optional_string(key)? {
            None | Some("default") => Ok(Self::None),
            Some("linear") => Ok(Self::Linear { factor: fields.positive("factor")? }),
            Some("dynamic") => {
                Ok(Self::Dynamic { factor: fields.positive("factor")?, max_position_embeddings })
            }
            Some("llama3") => Self::read_llama3(fields),
            Some("yarn") => Self::read_yarn(fields, max_position_embeddings),
            Some(_) => Err(fields.refuse(key, "default, linear, dynamic, llama3 or yarn")),
        }
    }

    fn read_llama3(fields: &Fields<'_>) -> Result<Self, ModelError> {
        let low_freq_factor = fields.positive("low_freq_factor")?;
        let high_freq_factor = fields.positive("high_freq_factor")?;
        if high_freq_factor <= low_freq_factor {
            return Err(
                fields.refuse("high_freq_factor", format!("more than low_freq_factor, {low_freq_factor}"))
            );
        }
        Ok(Self::Llama3 {
            factor: fields.positive("factor")?,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings: fields.size("original_max_position_embeddings")?,
        })
    }

    #[allow(clippy::cast_precision_loss, reason = "context lengths are below 2^31")]
    fn read_yarn(fields: &Fields<'_>, max_position_embeddings: i64) -> Result<Self, ModelError> {
        let original =
            fields.optional_size("original_max_position_embeddings")?.unwrap_or(max_position_embeddings);
        let factor = match fields.optional_positive("factor")? {
            Some(factor) => factor,
            None => max_position_embeddings as f64 / original as f64,
        };
        let scale = |mscale: f64| if factor <= 1.0 { 1.0 } else { 0.1 * mscale * factor.ln() + 1.0 };
        let mscales = (fields.optional_positive("mscale")?, fields.optional_positive("mscale_all_dim")?);
        let attention_factor = match (fields.optional_positive("attention_factor")?, mscales) {
            (Some(attention_factor), _) => attention_factor,
            (None, (Some(mscale), Some(all))) => scale(mscale) / scale(all),
            (None, _) => scale(1.0),
        };
        Ok(Self::Yarn {
            factor,
            original_max_position_embeddings: original,
            beta_fast: fields.optional_positive("beta_fast")?.unwrap_or(32.0),
            beta_slow: fields.optional_positive("beta_slow")?.unwrap_or(1.0),
            attention_factor,
            truncate: fields.optional_flag("truncate")?.unwrap_or(true),
        })
    }
}
