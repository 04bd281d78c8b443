//! Programs: run in a sandbox and held against tests.

mod language;
mod limits;
mod outcome;
pub mod sandbox;

pub use language::Language;
pub use limits::Limits;
pub use outcome::{Outcome, Status};
pub use sandbox::Sandbox;
