//! What is said of methods that learn from what people, or verifiers, prefer.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::method::{batch, max_tokens};
use super::settings::{Lora, What};
use crate::Error;
use crate::error::recipe;

/// Files of examples, whatever an example is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Examples {
    /// Files of JSON lines; see [`crate::data::read_pairs`] and [`crate::data::read_answers`] for what
    /// a line may look like.
    pub data: Vec<PathBuf>,
    /// Files held out, which [`super::Evaluate`] takes its examples from. Without them examples of
    /// `data` are held out.
    #[serde(default)]
    pub held_out: Vec<PathBuf>,
    /// Examples of a step.
    #[serde(default = "batch")]
    pub batch: usize,
    /// One with a longer text is left out, and counted.
    #[serde(default = "max_tokens")]
    pub max_tokens: usize,
}

impl Examples {
    fn check(&self, field: &str, lora: &Lora) -> Result<(), Error> {
        if self.data.is_empty() {
            return Err(recipe(format!("{field}.data"), "names no file"));
        }
        if self.batch == 0 {
            return Err(recipe(format!("{field}.batch"), "must be at least 1"));
        }
        if lora.learn != What::Adapter {
            return Err(recipe("lora.learn", "preferences are learned with an adapter"));
        }
        Ok(())
    }
}

/// Better answers to be preferred: DPO, IPO, SimPO, ORPO.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preference {
    /// What is learned from.
    pub pairs: Examples,
    /// The loss.
    #[serde(default)]
    pub objective: crate::objective::Preference,
}

impl Preference {
    pub(super) fn check(&self, lora: &Lora) -> Result<(), Error> {
        self.pairs.check("preference.pairs", lora)
    }
}

/// Better answers to be told from worse ones: a reward model (Bradley and Terry 1952; InstructGPT,
/// arXiv:2203.02155).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RewardModel {
    /// What is learned from.
    pub pairs: Examples,
    /// How strongly rewards are drawn to a mean of 0 (arXiv:2312.09244).
    #[serde(default)]
    pub centering_coefficient: f64,
}

impl RewardModel {
    pub(super) fn check(&self, lora: &Lora) -> Result<(), Error> {
        self.pairs.check("reward_model.pairs", lora)
    }
}

/// Answers that are each good or bad, without pairs: KTO (arXiv:2402.01306).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kto {
    /// What is learned from.
    pub answers: Examples,
    /// The loss.
    #[serde(default)]
    pub objective: crate::objective::Kto,
}

impl Kto {
    pub(super) fn check(&self, lora: &Lora) -> Result<(), Error> {
        self.answers.check("kto.answers", lora)
    }
}
