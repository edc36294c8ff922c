//! What a model is given, and the positions that follow from it.

use crate::ModelError;
use tch::{Kind, Tensor};

/// Tokens, and which of them belong together.
#[derive(Debug, Clone, Copy)]
pub struct ModelInput<'a> {
    /// Token ids, int64 `[batch, time]`.
    pub tokens: &'a Tensor,
    /// Ids of the texts that the tokens belong to, int64 `[batch, time]`: attention stays within equal ids, and positions
    /// restart where the id changes. Id 0 is padding, which attends to itself alone. Without it, a row is one text.
    pub segments: Option<&'a Tensor>,
}

impl<'a> ModelInput<'a> {
    /// Rows of one text each.
    pub fn new(tokens: &'a Tensor) -> Self {
        Self { tokens, segments: None }
    }

    /// With several texts or padding in a row.
    #[must_use]
    pub fn with_segments(self, segments: &'a Tensor) -> Self {
        Self { segments: Some(segments), ..self }
    }

    /// Checks shapes, dtypes and that every token is one of `vocab_size`.
    pub(crate) fn check(&self, vocab_size: i64) -> Result<(), ModelError> {
        let refuse = |what, tensor: &Tensor, expected: String| ModelError::Input {
            what,
            found: format!("{:?} {:?}", tensor.kind(), tensor.size()),
            expected,
        };
        let (batch, time) = match self.tokens.size()[..] {
            [batch, time] if self.tokens.kind() == Kind::Int64 && batch > 0 && time > 0 => (batch, time),
            _ => return Err(refuse("tokens", self.tokens, "Int64 [batch, time], not empty".to_owned())),
        };
        if let Some(segments) = self.segments
            && (segments.kind() != Kind::Int64 || segments.size() != [batch, time])
        {
            return Err(refuse("segments", segments, format!("Int64 [{batch}, {time}]")));
        }
        let range =
            || Ok((self.tokens.f_min()?.f_int64_value(&[])?, self.tokens.f_max()?.f_int64_value(&[])?));
        let (low, high) = range().map_err(ModelError::torch("the check of the tokens"))?;
        if low < 0 || high >= vocab_size {
            return Err(ModelError::Input {
                what: "tokens",
                found: format!("from {low} to {high}"),
                expected: format!("from 0 to {}", vocab_size - 1),
            });
        }
        Ok(())
    }
}

/// The positions `[batch or 1, length]` of `length` tokens: counted from where a segment begins, 0 for padding.
pub(crate) fn positions(segments: Option<&Tensor>, length: i64, like: &Tensor) -> Result<Tensor, ModelError> {
    let positions = || {
        let index = Tensor::f_arange(length, (Kind::Int64, like.device()))?.f_unsqueeze(0)?;
        let Some(segments) = segments.filter(|_| length > 1) else { return Ok(index) };
        let (before, after) = (segments.f_narrow(1, 0, length - 1)?, segments.f_narrow(1, 1, length - 1)?);
        let begins = before.f_ne_tensor(&after)?.f_constant_pad_nd([1, 0])?;
        let (starts, _) = begins.f_to_kind(Kind::Int64)?.f_mul(&index)?.f_cummax(1)?;
        index.f_sub(&starts)?.f_masked_fill(&segments.f_eq(0)?, 0)
    };
    positions().map_err(ModelError::torch("counting positions"))
}
