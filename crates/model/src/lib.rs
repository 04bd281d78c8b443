//! The transformer: a configuration and a file of weights in, logits out.
//!
//! [`Model::load`] repacks the weights of an open [`weights::Checkpoint`] for this machine's
//! kernels; [`Model::forward`] runs the layers over a batch of spans, each any number of tokens of
//! one [`Sequence`] at its own place in the paged [`KvCache`], and with its own [`Adapter`] if it likes. This crate knows nothing about
//! text, sampling or who asks.

#![forbid(unsafe_code)]

pub mod config;
mod cost;
mod error;
mod experts;
mod forward;
mod inputs;
mod kv_cache;
mod latent;
mod layer;
mod layers;
mod load;
mod lora;
mod parts;
mod rope;

pub use config::{Activation, Config, ExpertConfig, LatentConfig, Window};
pub use error::Error;
pub use forward::{Span, Want, Workspace};
pub use inputs::InputSquares;
/// Positions that one page of the cache holds.
pub use kernels::attention::PAGE;
pub use kv_cache::{CacheOptions, HeldPage, KvCache, Sequence};
pub use layer::Layer;
pub use load::{Model, read_f32};
pub use lora::{
    Adapter, AdapterUse, Factors, Merged, PeftSettings, StoredPair, Target, TrainedPair,
};
pub use rope::{Rope, RopeConfig, RopeScaling, RopeScalingRequest};
