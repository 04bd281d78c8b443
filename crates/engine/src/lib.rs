//! Requests in, tokens out: sampling, generation over the paged KV cache, and the stream of
//! deltas a caller sees. This crate knows nothing about files being fetched, terminals or HTTP.
//!
//! [`Engine::load`] opens a model; [`Engine::chat`] turns a conversation into a [`Request`]. A
//! [`Scheduler`] answers any number of them together, a forward pass at a time
//! ([`Scheduler::step`]), or one of them alone ([`Scheduler::complete`]); a [`Runtime`] gives it a
//! thread and lets many others use it. [`Engine::perplexity`]
//! and [`Engine::logits_of`] look at what the model expects of a given text; [`bench()`] measures
//! how fast it is.

#![forbid(unsafe_code)]

mod adapters;
mod bench;
mod constraint;
mod divergence;
mod embed;
mod engine;
mod error;
mod memory;
mod request;
mod reward;
mod runtime;
pub mod sampler;
mod scheduler;
mod score;
mod speculate;
mod speech;
mod stop;
mod toolset;
mod turn;

pub use adapters::Lora;
pub use bench::{Case as BenchCase, Plan as BenchPlan, Row as BenchRow, Test as BenchTest, bench};
pub use constraint::{Constraint, Grammar, Scope};
pub use engine::{Ending, Engine, LoadOptions};
pub use error::Error;
pub use memory::{WeightMemory, available as available_memory};
pub use request::{Completion, Delta, FinishReason, Flow, Request, Timings, TokenLogprob, Usage};
pub use runtime::{Pending, Runtime};
pub use scheduler::{Event, Kept, Load, RequestId, Scheduler, SchedulerOptions, Update};
pub use score::Perplexity;
pub use toolset::Toolset;
