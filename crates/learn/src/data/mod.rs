//! From files of conversations to tokens, and which of them are to be learned.

mod render;
pub mod shapes;

pub use render::{Rendered, Text, render};
pub use shapes::{Conversation, read};
