//! From files of conversations to tokens, and which of them are to be learned; and files of plain texts.

mod answers;
pub mod documents;
pub(crate) mod pairs;
mod render;
pub mod shapes;

pub use answers::{Answer, read_answers};
pub use pairs::{Preferred, read_pairs};
pub use render::{Rendered, Text, answered, render};
pub use shapes::{Conversation, read};
