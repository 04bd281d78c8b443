//! Programs: run in a sandbox and held against tests.
//!
//! [`Sandbox`] runs a program of one of the [`Language`]s within [`Limits`], and gives its
//! [`Outcome`]. [`Tests`] is the [`Verifier`](crate::Verifier) made of it.

mod cases;
mod extract;
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
mod language;
mod limits;
mod outcome;
#[cfg(target_os = "linux")]
pub mod sandbox;
#[cfg(not(target_os = "linux"))]
#[path = "elsewhere.rs"]
pub mod sandbox;
mod suite;

pub use cases::Case;
pub use language::Language;
pub use limits::Limits;
pub use outcome::{Outcome, Status};
pub use sandbox::Sandbox;
pub use suite::Tests;
