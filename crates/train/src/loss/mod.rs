//! The next-token loss, a slice of the logits at a time.
//!
//! `loss = -1/N * sum_t log softmax(head(h_t))[target_t]`, over the `N` targets that count.
//!
//! Only the hidden states of counting positions reach the head, and those in slices: the logits of a slice and their
//! gradient exist, those of the batch never do, and the softmax never does (`qtuner_models::cross_entropy`). What is kept of a
//! slice is its gradient with respect to the hidden states, `[n, hidden]`; one backward pass through the model takes the whole of it.

mod evaluate;
mod slices;
mod train;

pub use evaluate::{Evaluation, evaluate, evaluate_while};
pub use slices::slice_rows;
pub use train::{LossSum, backward};
