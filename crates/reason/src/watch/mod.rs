//! What can be seen of a thought while it is being written: that it goes in circles, or strays from
//! the language of the question.

pub mod loops;
mod script;
mod units;

pub use loops::{Loop, Loops};
pub use script::{FOREIGN_THRESHOLD, Script, foreign_share, is_mixed};
