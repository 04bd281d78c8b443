//! What to teach a model, and how: examples, preferences and rewards in, a better model out.
//!
//! - [`objective`] is the arithmetic: losses and advantages, and their gradients with respect to
//!   log-probabilities;
//! - [`journal`] keeps what was seen on the way.

#![forbid(unsafe_code)]

pub mod journal;
pub mod objective;
