//! One module per command: its arguments and what they do.

pub mod bench;
pub mod convert;
pub mod eval;
pub mod imatrix;
pub mod inspect;
pub mod list;
pub mod logits;
pub mod merge;
pub mod perplexity;
pub mod pull;
pub mod quantize;
pub mod reason;
pub mod rm;
pub mod run;
pub mod serve;
pub mod synth;
pub mod train;
pub mod verify;

/// A model's name as part of a file's.
fn file_name(model: &str) -> String {
    let plain = |c: char| if c.is_alphanumeric() || "-._".contains(c) { c } else { '-' };
    model.chars().map(plain).collect()
}
