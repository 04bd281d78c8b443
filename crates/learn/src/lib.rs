//! What to teach a model, and how: examples, preferences and rewards in, a better model out.
//!
//! - a [`recipe`] says everything a run depends on;
//! - [`pretrain`] makes a model from nothing, and texts for it to go on with;
//! - [`data`] turns files of conversations into tokens, [`distill`] makes such files of right answers, [`rl`] draws problems and completions and
//!   judges them;
//! - [`objective`] is the arithmetic: losses and advantages, and their gradients with respect to
//!   log-probabilities;
//! - a [`Learner`] turns those into steps; [`run`] takes one after the other, measures, keeps
//!   checkpoints and goes on where it was left;
//! - [`journal`] keeps what was seen on the way;
//! - [`export`] writes a recipe down as a job for other people's libraries.
//!
//! Nothing in a run depends on the clock or on the number of threads: all chance comes from the
//! recipe's seed and the number of the step, so that a run that was interrupted ends as one that
//! wasn't, to the bit.

#![forbid(unsafe_code)]

mod chance;
mod cross_entropy;
pub mod data;
pub mod distill;
mod error;
pub mod export;
pub mod journal;
mod learner;
pub mod objective;
pub mod preference;
pub mod pretrain;
pub mod recipe;
pub mod rl;
pub mod run;
pub mod sft;

pub use error::Error;
pub use learner::{Learner, Step};
pub use recipe::Recipe;
