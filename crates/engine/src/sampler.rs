//! Drawing the next token from logits.

/// How the next token is drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {}
