//! Buying accuracy with compute, wherever the model runs.
//!
//! A [`Completer`] answers an [`Ask`]: [`Local`] with the engine in this process, a [`Pool`] with one
//! or several OpenAI-compatible endpoints. A [`thought`] is a text that a model writes under a budget
//! and under watch. A [`strategy::Strategy`] has one or many of them on a [`Problem`] and comes to an
//! answer; [`reason()`] runs it and gives the [`Receipt`]. This crate knows nothing of terminals or
//! files.
#![forbid(unsafe_code)]

pub mod answer;
mod completer;
mod effort;
mod endpoint;
mod local;
mod mind;
mod receipt;
pub mod strategy;
pub mod thought;
pub mod vote;
pub mod watch;

pub use completer::{Ask, Completer, Error, Opening, Piece, Prompt, Sampling};
pub use effort::{Effort, INSTRUCTION};
pub use endpoint::{Endpoint, EndpointOptions, Pool};
pub use local::Local;
pub use mind::{Event, Mind, Problem};
pub use receipt::{Receipt, Usage, reason};
pub use strategy::Spec;
