//! What is said of a value function.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::error::recipe;
use crate::objective::{Gae, ValueLoss};

/// A value function that says, token for token, what a completion is going to earn: with it, rewards
/// are sought by PPO (Schulman et al. 2017, arXiv:1707.06347; with language models, Ouyang et al.
/// 2022, arXiv:2203.02155) instead of holding completions of one problem against each other.
///
/// It is a network of its own: the same frozen model with another adapter and a scalar head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Critic {
    /// Its adapter and head begin with those of a reward model, the adapter of a `[reward_model]`
    /// recipe of the same rank on the same matrices. Without it the head begins with zeros: the
    /// first step's advantages are then, with gamma and lambda of 1 and before whitening, the rewards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<PathBuf>,
    /// Its learning rate, on the schedule of the policy's.
    pub learning_rate: f64,
    /// How advantages are estimated.
    pub gae: Gae,
    /// What it learns by.
    pub loss: ValueLoss,
    /// Whether the advantages of a step are brought to mean 0 and deviation 1.
    pub whiten: bool,
    /// What each token costs for each nat that the policy gives it more than the reference does:
    /// InstructGPT's penalty, as part of the rewards. 0 needs no reference.
    pub kl_in_reward: f64,
}

impl Default for Critic {
    fn default() -> Critic {
        Critic {
            from: None,
            learning_rate: 1e-4,
            gae: Gae::default(),
            loss: ValueLoss::default(),
            whiten: true,
            kl_in_reward: 0.0,
        }
    }
}

impl Critic {
    pub(super) fn check(&self) -> Result<(), Error> {
        for (field, value) in
            [("learning_rate", self.learning_rate), ("kl_in_reward", self.kl_in_reward)]
        {
            if !(value.is_finite() && value >= 0.0) {
                let problem = format!("{value} is no number from 0 on");
                return Err(recipe(format!("grpo.critic.{field}"), problem));
            }
        }
        for (field, value) in [("gamma", self.gae.gamma), ("lambda", self.gae.lambda)] {
            if !(0.0..=1.0).contains(&value) {
                let problem = format!("{value} is not from 0 to 1");
                return Err(recipe(format!("grpo.critic.gae.{field}"), problem));
            }
        }
        match self.loss.clip {
            Some(clip) if !(clip.is_finite() && clip >= 0.0) => {
                let problem = format!("{clip} is no number from 0 on");
                Err(recipe("grpo.critic.loss.clip", problem))
            }
            _ => Ok(()),
        }
    }
}
