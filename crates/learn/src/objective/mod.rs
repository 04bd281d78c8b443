//! Losses and advantages as functions of log-probabilities and rewards, with their gradients.
//!
//! - Reinforcement learning: rewards for length ([`Overlong`], [`length_rewards`], [`Cosine`]),
//!   what was better than expected ([`advantages`], or [`Gae`] with a value function and its
//!   [`ValueLoss`]), and the clipped surrogate ([`PolicySettings::surrogate`]).
//! - Preferences: [`Preference`] over pairs, [`Kto`] over completions that are good or bad.
//! - Reward models: [`BradleyTerry`].
//!
//! All of it is arithmetic on slices: log-probabilities of tokens come and go as f32, everything is
//! summed in f64 in the order given, and nothing here knows of models or files. What a completion's
//! numbers say is one number a token *of the completion*; the prompt's tokens are left to the
//! caller. A step may be split into micro-batches: what losses are divided by is given, and losses,
//! gradients and statistics add up.

mod advantage;
mod error;
mod kto;
mod mean;
mod policy;
mod preference;
mod reward;
mod shaping;
mod statistics;
mod surrogate;
mod value;

pub use advantage::{Advantages, Baseline, advantages};
pub use error::Error;
pub use kto::{Kto, KtoLoss, Labelled, kto_baseline};
pub use policy::{Aggregate, Correction, KlEstimator, PolicySettings, Ratio};
pub use preference::{Pair, Preference, PreferenceLoss, PreferenceStatistics, Sequence, per_token};
pub use reward::{BradleyTerry, RewardLoss, RewardStatistics};
pub use shaping::{Cosine, Overlong, length_rewards};
pub use statistics::PolicyStatistics;
pub use surrogate::{Advantage, Completion, Normalizers, Surrogate};
pub use value::{Estimates, Gae, ValueLoss, Values};
