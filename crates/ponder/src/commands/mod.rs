//! One module per command: its arguments and what they do.

pub mod list;
pub mod pull;
pub mod rm;
