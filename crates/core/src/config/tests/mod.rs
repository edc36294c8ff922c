//! Tests of the config: one file a subject.

mod json;
mod laws;
mod matching;
mod outcome;
mod patterns;
mod regex;
mod resolve;
mod validate;
