//! What can be wrong with the toy.

/// A fault of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// None: it obeys the laws.
    None,
    /// The base's output is a thousandth too large.
    ScalesOutput,
    /// The output is detached from the input.
    DropsGradient,
    /// The output is a thousandth too large where a gradient is recorded.
    ScalesRecordedOutput,
    /// The gradient is twice what it should be from 100 rows on.
    DoublesGradientOfManyRows,
    /// The last group of inputs is left out of the sum.
    IgnoresLastGroup,
    /// A forward under `no_grad` turns later ones into evaluation, too.
    LatchesEvaluation,
    /// What the first forward made is kept for later ones, even if that was in inference mode.
    KeepsFirstSteps,
    /// The capabilities say that adapters can be merged; they cannot.
    ClaimsMerge,
    /// `as_quantized` was forgotten.
    ForgetsAsQuantized,
    /// `named_tensors` lacks the bias.
    LosesBias,
    /// A bad input panics.
    Panics,
    /// A dense copy of the weight is made.
    MakesDenseCopy,
    /// The dispatcher's wrapper starts with `B` other than 0.
    StartsTrained,
}
