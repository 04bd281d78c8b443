//! Requests in, tokens out: sampling, generation over the paged KV cache, and the stream of
//! deltas a caller sees. This crate knows nothing about files being fetched, terminals or HTTP.

#![forbid(unsafe_code)]

mod request;
pub mod sampler;

pub use request::{Completion, Delta, FinishReason, Flow, Request, Timings, TokenLogprob, Usage};
