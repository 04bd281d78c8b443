//! Programs: run in a sandbox and held against tests.

mod code;
mod language;
mod limits;
mod outcome;
pub mod sandbox;
mod tests;

pub use language::Language;
pub use limits::Limits;
pub use outcome::{Outcome, Status};
pub use sandbox::Sandbox;
pub use tests::{AssertsTask, Case, FunctionTask, StdioTask, Tests};
