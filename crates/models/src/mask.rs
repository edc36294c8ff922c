//! Which keys a query sees: those before it, within its window and within its text.

use crate::ModelError;
use tch::{Kind, TchError, Tensor};

/// The keys that the queries of a layer see. Queries are the last ones of the tokens.
#[derive(Debug)]
pub(crate) enum Mask {
    /// The last so many keys: for a single query.
    Last(i64),
    /// Each query its own key and all before it: for as many queries as keys.
    Causal,
    /// Those with 0 and not minus infinity, `[batch or 1, 1, queries, keys]` in the compute dtype.
    Additive(Tensor),
}

/// What a mask follows from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MaskInput<'a> {
    /// Number of queries.
    pub(crate) queries: i64,
    /// Number of keys, cached ones included.
    pub(crate) keys: i64,
    /// Segments of the keys, `[batch, keys]`.
    pub(crate) segments: Option<&'a Tensor>,
    /// Number of keys that a query sees at most, itself included.
    pub(crate) window: Option<i64>,
}

impl Mask {
    /// The plainest mask that says it.
    pub(crate) fn new(input: MaskInput<'_>, like: &Tensor, kind: Kind) -> Result<Self, ModelError> {
        let MaskInput { queries, keys, segments, window } = input;
        let window = window.filter(|window| *window < keys);
        match (segments, window) {
            (None, window) if queries == 1 => Ok(Self::Last(window.unwrap_or(keys))),
            (None, None) if queries == keys => Ok(Self::Causal),
            _ => {
                let input = MaskInput { window, ..input };
                let mask = additive(input, like, kind).map_err(ModelError::torch("the attention mask"))?;
                Ok(Self::Additive(mask))
            }
        }
    }
}

fn additive(input: MaskInput<'_>, like: &Tensor, kind: Kind) -> Result<Tensor, TchError> {
    let MaskInput { queries, keys, segments, window } = input;
    let device = like.device();
    let key = Tensor::f_arange(keys, (Kind::Int64, device))?.f_unsqueeze(0)?;
    let query = key.f_narrow(1, keys - queries, queries)?.f_transpose(0, 1)?;
    let mut seen = key.f_le_tensor(&query)?;
    if let Some(window) = window {
        seen = seen.f_logical_and(&key.f_gt_tensor(&query.f_sub_scalar(window)?)?)?;
    }
    if let Some(segments) = segments {
        let of_keys = segments.f_unsqueeze(1)?;
        let of_queries = segments.f_narrow(1, keys - queries, queries)?.f_unsqueeze(2)?;
        let within = of_keys.f_eq_tensor(&of_queries)?.f_logical_and(&of_keys.f_ne(0)?)?;
        // Every query sees itself, padding too, so that no row of the softmax is empty.
        seen = seen.f_logical_and(&within)?.f_logical_or(&key.f_eq_tensor(&query)?)?;
    } else {
        seen = seen.f_unsqueeze(0)?;
    }
    let zeros = Tensor::f_zeros(seen.size(), (kind, device))?;
    zeros.f_masked_fill(&seen.f_logical_not()?, f64::NEG_INFINITY)?.f_unsqueeze(1)
}
