//! Preferences: the better of two answers becomes more likely than the worse one (DPO and what came
//! after it), or good answers more likely than bad ones (KTO); or the better one earns more from a reward
//! model (Bradley and Terry 1952).

mod examples;
mod kto;
mod method;
mod policy;
mod reward;
mod verifier;

pub use examples::{Example, Examples};
pub use kto::Kto;
pub use method::{ExampleLoss, FromExamples, Part};
pub use policy::Policy;
pub use reward::RewardModel;
pub use verifier::RewardVerifier;
pub(crate) use verifier::load;
