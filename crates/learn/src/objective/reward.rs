//! What a reward model is taught: Bradley and Terry's model of which of two is preferred.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use super::error::{at_least, item, setting};
use super::mean::{Mean, log_sigmoid, sigmoid};
use super::{Error, Pair};

/// `-ln σ(chosen - rejected - margin) + centering_coefficient · (chosen + rejected)²` of the
/// rewards of a pair (Bradley and Terry 1952; the margin is Llama 2's, arXiv:2307.09288; the other
/// term keeps rewards about 0, which the first leaves open, arXiv:2312.09244).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BradleyTerry {
    /// TRL's `center_rewards_coefficient`: 0, or some 0.01.
    pub centering_coefficient: f64,
}

/// What a micro-batch comes to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RewardLoss {
    /// Its part of the step's loss: those of all micro-batches add up to it.
    pub loss: f64,
    /// The loss's gradient with respect to each reward, one pair of them a pair.
    pub d_rewards: Vec<Pair<f32>>,
    /// What there is to be seen.
    pub statistics: RewardStatistics,
}

/// What is to be seen of a step; those of micro-batches add up.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RewardStatistics {
    correct: Mean,
    margin: Mean,
    reward: Mean,
}

impl RewardStatistics {
    /// The share of pairs whose chosen one has the higher reward.
    pub fn accuracy(&self) -> Option<f64> {
        self.correct.get()
    }

    /// How much the chosen ones' rewards are above the rejected ones' in the mean.
    pub fn margin(&self) -> Option<f64> {
        self.margin.get()
    }

    /// The mean of all rewards.
    pub fn reward(&self) -> Option<f64> {
        self.reward.get()
    }

    /// All that is known, by name.
    pub fn figures(&self) -> Vec<(&'static str, f64)> {
        let all = [
            ("reward/accuracy", self.accuracy()),
            ("reward/margin", self.margin()),
            ("reward/mean", self.reward()),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

impl AddAssign for RewardStatistics {
    fn add_assign(&mut self, other: RewardStatistics) {
        self.correct += other.correct;
        self.margin += other.margin;
        self.reward += other.reward;
    }
}

impl BradleyTerry {
    /// The loss of a micro-batch's pairs of rewards, and its gradients. `margins` are by how much
    /// each chosen one should be ahead, and without them 0; `of` is the number of the step's pairs:
    /// the loss is a mean over them.
    ///
    /// # Errors
    /// The coefficient is negative; `of` is 0 but there are pairs; there are not as many margins as
    /// pairs; a reward or margin isn't finite.
    pub fn loss(
        &self,
        rewards: &[Pair<f32>],
        margins: Option<&[f32]>,
        of: usize,
    ) -> Result<RewardLoss, Error> {
        at_least("centering_coefficient", self.centering_coefficient, 0.0)?;
        if of == 0 && !rewards.is_empty() {
            return Err(setting("of", "0 pairs in the step, but some in its micro-batch"));
        }
        if let Some(margins) = margins.filter(|margins| margins.len() != rewards.len()) {
            let problem = format!("{} for {} pairs", margins.len(), rewards.len());
            return Err(setting("margins", problem));
        }
        let mut out = RewardLoss::default();
        let share = 1.0 / of.max(1) as f64;
        for (at, pair) in rewards.iter().enumerate() {
            let finite = |field, value: f32| match value.is_finite() {
                true => Ok(f64::from(value)),
                false => Err(item(field, at, format!("{value}"))),
            };
            let chosen = finite("chosen", pair.chosen)?;
            let rejected = finite("rejected", pair.rejected)?;
            let margin = finite("margins", margins.map_or(0.0, |margins| margins[at]))?;
            let logit = chosen - rejected - margin;
            let sum = chosen + rejected;
            out.loss += share * (self.centering_coefficient * sum * sum - log_sigmoid(logit));
            let (apart, together) = (sigmoid(-logit), 2.0 * self.centering_coefficient * sum);
            let d = Pair {
                chosen: (share * (together - apart)) as f32,
                rejected: (share * (together + apart)) as f32,
            };
            if !(d.chosen.is_finite() && d.rejected.is_finite()) {
                return Err(item("chosen", at, "too large: no finite gradient"));
            }
            out.d_rewards.push(d);
            out.statistics.correct.see(f64::from(u8::from(chosen > rejected)));
            out.statistics.margin.see(chosen - rejected);
            out.statistics.reward.see(chosen);
            out.statistics.reward.see(rejected);
        }
        Ok(out)
    }
}
