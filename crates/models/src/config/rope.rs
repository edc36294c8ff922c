//! Rotary position embeddings as data.

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
