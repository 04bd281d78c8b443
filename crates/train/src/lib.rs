//! Forward and backward through a transformer, by hand: a batch of packed texts in, gradients out.
//!
//! A [`Network`] is a model and what of it is learned: [`Network::lora`] puts low-rank pairs beside
//! the matrices of a frozen [`model::Model`], quantised or not; [`Network::full`] learns every
//! weight, held in f32. Both share one pass: each linear layer and each norm knows what it has to
//! learn, and nobody else asks.
//!
//! - [`Network::log_probs`] scores a [`Batch`]: the log-probability and entropy of each target;
//! - [`Network::forward`] does the same and keeps what the way back needs, for
//!   [`Network::backward`], which takes any gradient of the loss with respect to each
//!   log-probability (and entropy): what GRPO, PPO and DPO come down to;
//! - [`Network::cross_entropy`] is both at once for the weighted cross-entropy of SFT;
//! - [`Network::with_scalar_head`] adds a head that ends in one number, for reward models and value
//!   functions: [`Network::values`], [`Network::forward_values`], [`Network::backward_values`].
//!
//! Several answers to one question are a group ([`Batch::push_group`]): the question goes through
//! the network once, and the gradients of all of them flow back through it.
//!
//! Of a layer's activations only its input is kept; the rest is worked out again on the way back
//! (Chen et al. 2016, arXiv:1604.06174). All sums have an order that the shapes fix: on one
//! instruction set gradients are the same to the bit for any number of threads.
//!
//! This crate knows nothing of text, rewards or sampling.

#![forbid(unsafe_code)]

mod batch;
mod chosen;
mod dropout;
mod error;
mod full;
mod head;
mod layer;
mod linear;
mod lora;
mod network;
mod optimizer;
mod parameters;
mod products;
mod scores;
mod values;

pub use batch::{Batch, Continuation};
pub use error::Error;
pub use lora::LoraSettings;
pub use network::{Forward, Network};
pub use optimizer::Optimizer;
pub use parameters::{Gradients, Parameter, Parameters};
pub use products::Precision;
pub use scores::{Loss, ScoreGradients, Scores};
pub use values::{ForwardValues, ScalarHead};
