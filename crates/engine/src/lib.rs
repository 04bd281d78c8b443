//! Requests in, tokens out: sampling, generation over the paged KV cache, and the stream of
//! deltas a caller sees. This crate knows nothing about files being fetched, terminals or HTTP.
//!
//! [`Engine::load`] opens a model; [`Engine::chat`] turns a conversation into a [`Request`];
//! [`Engine::complete`] answers it. [`Engine::perplexity`] and [`Engine::logits_of`] look at what
//! the model expects of a given text; [`bench()`] measures how fast it is.

#![forbid(unsafe_code)]

mod bench;
mod error;
mod generate;
mod request;
pub mod sampler;
mod score;
mod speech;
mod stop;
mod turn;

pub use bench::{Case as BenchCase, Plan as BenchPlan, Row as BenchRow, Test as BenchTest, bench};
pub use error::Error;
pub use generate::{Engine, LoadOptions};
pub use request::{Completion, Delta, FinishReason, Flow, Request, Timings, TokenLogprob, Usage};
pub use score::Perplexity;
