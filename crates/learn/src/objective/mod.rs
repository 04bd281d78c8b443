//! Losses and advantages as functions of log-probabilities and rewards, with their gradients.
//!
//! What reinforcement learning needs, in the order it is needed: [`advantages`]
//! and the clipped surrogate ([`PolicySettings::surrogate`]).
//!
//! All of it is arithmetic on slices: log-probabilities of tokens come and go as f32, everything is
//! summed in f64 in the order given, and nothing here knows of models or files. What a completion's
//! numbers say is one number a token *of the completion*; the prompt's tokens are left to the
//! caller.

mod advantage;
mod error;
mod policy;
mod statistics;
mod surrogate;

pub use advantage::{Advantages, Baseline, advantages};
pub use error::Error;
pub use policy::{Aggregate, Correction, KlEstimator, PolicySettings, Ratio};
pub use statistics::PolicyStatistics;
pub use surrogate::{Advantage, Completion, Normalizers, Surrogate};
