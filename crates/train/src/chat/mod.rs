//! Conversations to text: the checkpoint's own chat template, and which parts of the text the assistant said.

mod functions;
mod messages;
mod python;
mod source;
mod spans;
mod template;

pub use spans::assistant_spans;
pub use template::{ChatTemplate, GenerationPrompt, TemplateError};
