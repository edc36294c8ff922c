//! The laws by name, and the report of one that is broken.

use std::fmt;

/// One of the ten laws that every backend obeys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Law {
    /// Forward equals the dequantized reference, is linear in the input, gives the same rows however they are batched, and
    /// is bit-equal for one thread and many.
    Forward,
    /// The gradient to the input equals the reference's and finite differences; none reaches the packed tensors.
    Gradient,
    /// A fresh adapter and a disabled adapter leave the output bit-equal to the base.
    Identity,
    /// Active adapters add; scaling acts on the adapter's contribution alone.
    Addition,
    /// Merging changes no output and unmerging restores the bytes; or merging is a typed error and changes nothing.
    Merge,
    /// What is saved loads: the same outputs, names and bytes.
    Storage,
    /// Training, then evaluation, then training gives the gradients of training alone.
    Statelessness,
    /// Bad input is a typed error that names place, found and expected; never a panic, and nothing changes.
    Refusal,
    /// Any sequence of adds, switches, merges, deletes, saves and loads agrees with a dense model of it.
    LifeCycle,
    /// Peak memory of forward and backward stays within the stated bound above the packed weights.
    Memory,
}

impl Law {
    /// All of them, in order.
    pub const ALL: [Self; 10] = [
        Self::Forward,
        Self::Gradient,
        Self::Identity,
        Self::Addition,
        Self::Merge,
        Self::Storage,
        Self::Statelessness,
        Self::Refusal,
        Self::LifeCycle,
        Self::Memory,
    ];

    /// Its number, from 1.
    pub fn number(self) -> usize {
        1 + self as usize
    }
}

impl fmt::Display for Law {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sentence = match self {
            Self::Forward => "forward equals the dequantized reference",
            Self::Gradient => "the gradient to the input equals the reference's",
            Self::Identity => "fresh and disabled adapters change nothing",
            Self::Addition => "active adapters add and scale",
            Self::Merge => "merging changes no output and unmerging restores the bytes",
            Self::Storage => "what is saved loads",
            Self::Statelessness => "evaluation leaves no trace in training",
            Self::Refusal => "bad input is a typed error",
            Self::LifeCycle => "the life cycle agrees with a dense model",
            Self::Memory => "forward and backward stay within the memory bound",
        };
        write!(f, "law {} ({sentence})", self.number())
    }
}

/// A law that a backend breaks, and the smallest case that was found for it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{backend} breaks {law}: {detail}")]
pub struct LawViolation {
    /// The law.
    pub law: Law,
    /// The fixture's name.
    pub backend: String,
    /// What was found, what was expected, for which case, and how to see it again.
    pub detail: String,
}
