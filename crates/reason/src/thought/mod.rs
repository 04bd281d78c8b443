//! One thought: a text that a model writes, and that others end, mend or put words into.
//!
//! Everything here is done by going on with a text that is there: the budget is the number of tokens
//! that the next piece may have; a probe is a branch; a loop is cut out by going on from before it.
//! An engine that knows the beginnings of its texts (this one does) pays nothing for that.

mod confidence;
mod manner;
mod probe;
mod program;
mod record;
mod think;
mod writing;

pub use confidence::Confidence;
pub use manner::{Manner, Settle, Stopping, TIME_IS_UP, Words};
pub use record::{End, Measure, Step, Thought, Tokens};
pub(crate) use think::{Thinker, close, mix};
pub(crate) use writing::{Halt, Stop, Writing};
