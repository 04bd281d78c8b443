//! Asking models, wherever they run.
//!
//! A [`Completer`] answers an [`Ask`]: [`Local`] with the engine in this process, a [`Pool`] with one
//! or several OpenAI-compatible endpoints. What is built on it (strategies, benchmarks, the
//! terminal) does not know which it has. This crate knows nothing of terminals or files.
#![forbid(unsafe_code)]

mod completer;
mod endpoint;
mod local;

pub use completer::{Ask, Completer, Error, Prompt, Sampling};
pub use endpoint::{Endpoint, EndpointOptions, Pool};
pub use local::Local;
