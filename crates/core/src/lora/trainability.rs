//! Whether an adapter trains when it is active.

/// What an adapter is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trainability {
    /// It trains on, if it is active.
    Trainable,
    /// It does not train, and dropout is off in the whole model, as in PEFT: until
    /// [`set_adapter`](crate::model::set_adapter) names it, after which it trains like any active adapter, as in PEFT, too. The
    /// biases that came with it stay as they are until the next injection.
    Frozen,
}
