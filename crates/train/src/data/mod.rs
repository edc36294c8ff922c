//! From files to batches.
//!
//! ```text
//! plain text ─ one stream of tokens ─ windows ┐
//!                                             ├─ Sample ─ SampleOrder ─ Batch
//! JSONL ─ Record ─ Document ─ packed, padded ─┘
//! ```
//!
//! A [`Sample`] says for each token which document it belongs to and whether the loss counts it as a target.

mod arrange;
mod batch;
mod encode;
mod endings;
mod error;
mod jsonl;
mod load;
mod no_stop;
mod preview;
mod sample;
mod shuffle;
mod text;

pub use arrange::Arrangement;
pub use batch::Batch;
pub use encode::Document;
pub use endings::{EndToken, Endings, Ends};
pub use error::{BadLine, DataError};
pub use jsonl::Record;
pub use load::{DataFormat, DataOptions, DataReport, Dataset, Split, load};
pub use no_stop::NoStop;
pub use preview::{Preview, PreviewSample, PreviewToken, preview};
pub use sample::{IGNORED, Sample};
pub use shuffle::SampleOrder;
