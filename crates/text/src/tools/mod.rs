//! Tools: what a model may call, and how it says so.
//!
//! - [`Tool`] and [`ToolChoice`]: what a client offers, as OpenAI's chat API spells it.
//! - [`Format`]: how a model writes its calls, told from its chat template; how the
//!   [`Splitter`](crate::splitter::Splitter) finds them, and what to tell a model whose template
//!   knows no tools.
//! - [`CallStream`]: the text of a call to a name and arguments, while it streams in.
//! - [`grammar`]: what an answer may look like, for decoding that is held to a grammar.

mod call;
mod format;
mod grammar;
mod scan;
mod tool;

pub use call::{Call, CallEvent, CallStream, Malformed, parse};
pub use format::Format;
pub use grammar::{call_grammar, grammar};
pub use tool::{Tool, ToolChoice, ToolError};
