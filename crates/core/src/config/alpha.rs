//! `lora_alpha`: a number that stays an integer when it was written as one.

use std::fmt;

/// PEFT's `lora_alpha`. `16` and `16.0` mean the same, but each is saved the way it was given.
///
/// ```
/// use qtuner_core::LoraAlpha;
///
/// assert_eq!(LoraAlpha::from(16).to_string(), "16");
/// assert_eq!(LoraAlpha::from(0.5).value(), 0.5);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LoraAlpha {
    /// Written without a point.
    Integer(i64),
    /// Written with a point or an exponent.
    Float(f64),
}

impl LoraAlpha {
    /// The number itself, as it enters `alpha / r`.
    #[allow(clippy::cast_precision_loss, reason = "alpha enters a division of doubles, as it does in PEFT")]
    pub fn value(self) -> f64 {
        match self {
            Self::Integer(alpha) => alpha as f64,
            Self::Float(alpha) => alpha,
        }
    }
}

impl From<i32> for LoraAlpha {
    fn from(alpha: i32) -> Self {
        Self::Integer(alpha.into())
    }
}

impl From<i64> for LoraAlpha {
    fn from(alpha: i64) -> Self {
        Self::Integer(alpha)
    }
}

impl From<f64> for LoraAlpha {
    fn from(alpha: f64) -> Self {
        Self::Float(alpha)
    }
}

impl fmt::Display for LoraAlpha {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(alpha) => alpha.fmt(f),
            Self::Float(alpha) => fmt::Debug::fmt(alpha, f),
        }
    }
}
