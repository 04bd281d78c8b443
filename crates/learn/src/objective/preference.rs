//! Losses over pairs of a better and a worse completion of one prompt.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use super::Error;
use super::error::{at_least, item, setting};
use super::mean::{Mean, log_sigmoid, sigmoid};

/// Nobody is surer of a completion than this, in nats a token: where probabilities are 1 ORPO's
/// odds are infinite.
const SUREST: f64 = -1e-6;

/// A loss over pairs. Below, `c` and `r` are the log-probabilities of the chosen and the rejected
/// completion (sums over their tokens), `|c|` and `|r|` how many tokens these have, and `d_c` and
/// `d_r` what the policy's log-probabilities have above the reference's.
///
/// All but ORPO may have the chosen completion's mean negative log-likelihood added,
/// `nll_coefficient` times: it keeps the chosen one from becoming less likely together with the
/// rejected one (Iterative Reasoning Preference Optimization, arXiv:2404.19733).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "loss", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Preference {
    /// `-ln σ(beta · (d_c - d_r))`: DPO (arXiv:2305.18290).
    Dpo {
        /// How much straying from the reference costs; 0.1 unless said.
        #[serde(default = "tenth")]
        beta: f64,
        /// How often the label is taken to be the wrong way round (Mitchell 2023, "A note on DPO
        /// with noisy preferences"); below a half.
        #[serde(default)]
        label_smoothing: f64,
        /// See [`Preference`].
        #[serde(default)]
        nll_coefficient: f64,
    },
    /// `(d_c / |c| - d_r / |r| - 1 / (2 · beta))²`: IPO (arXiv:2310.12036), of means over tokens as
    /// TRL has it.
    Ipo {
        /// The paper's τ; 0.1 unless said.
        #[serde(default = "tenth")]
        beta: f64,
        /// See [`Preference`].
        #[serde(default)]
        nll_coefficient: f64,
    },
    /// `-ln σ(beta · (c / |c| - r / |r|) - gamma)`, without a reference: SimPO (arXiv:2405.14734).
    Simpo {
        /// 2 unless said.
        #[serde(default = "two")]
        beta: f64,
        /// The margin there should be; 1 unless said.
        #[serde(default = "one")]
        gamma: f64,
        /// See [`Preference`].
        #[serde(default)]
        nll_coefficient: f64,
    },
    /// The chosen one's mean negative log-likelihood less `lambda` times `ln σ` of the log odds
    /// ratio, whose odds are of mean log-probabilities, without a reference: ORPO
    /// (arXiv:2403.07691). The likelihood is the completion's, as in the paper; TRL counts the
    /// prompt's tokens, too.
    Orpo {
        /// 0.1 unless said.
        #[serde(default = "tenth")]
        lambda: f64,
    },
}

fn tenth() -> f64 {
    0.1
}

fn one() -> f64 {
    1.0
}

fn two() -> f64 {
    2.0
}

impl Default for Preference {
    fn default() -> Preference {
        Preference::Dpo { beta: tenth(), label_smoothing: 0.0, nll_coefficient: 0.0 }
    }
}

/// What is known of one completion.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sequence {
    /// Its log-probability under the policy: the sum over its tokens.
    pub log_prob: f64,
    /// The same under the reference; the losses that need none don't look at it.
    pub reference: Option<f64>,
    /// How many tokens it has.
    pub tokens: usize,
}

impl Sequence {
    /// From the log-probabilities of a completion's tokens, under the policy and the reference.
    pub fn new(log_probs: &[f32], reference: Option<&[f32]>) -> Sequence {
        let sum = |log_probs: &[f32]| log_probs.iter().map(|l| f64::from(*l)).sum();
        Sequence {
            log_prob: sum(log_probs),
            reference: reference.map(sum),
            tokens: log_probs.len(),
        }
    }

    fn mean(&self) -> f64 {
        self.log_prob / self.tokens as f64
    }

    /// What it has above the reference.
    pub(super) fn log_ratio(&self, at: usize) -> Result<f64, Error> {
        match self.reference {
            Some(reference) => Ok(self.log_prob - reference),
            None => Err(item("reference", at, "missing, and the loss needs it")),
        }
    }

    pub(super) fn check(&self, field: &'static str, at: usize) -> Result<(), Error> {
        let numbers = [Some(self.log_prob), self.reference];
        if let Some(number) = numbers.into_iter().flatten().find(|n| !n.is_finite()) {
            return Err(item(field, at, format!("a log-probability of {number}")));
        }
        if self.tokens == 0 {
            return Err(item(field, at, "no tokens"));
        }
        Ok(())
    }
}

/// The better and the worse completion of one prompt, or what belongs to each.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pair<T = Sequence> {
    /// The better one's.
    pub chosen: T,
    /// The worse one's.
    pub rejected: T,
}

/// What pairs of a micro-batch come to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PreferenceLoss {
    /// Their part of the step's loss: those of all micro-batches add up to it.
    pub loss: f64,
    /// The loss's gradient with respect to each completion's log-probability, one a pair. As that
    /// is a sum, it is the gradient of each of its tokens', too: [`per_token`].
    pub d_log_probs: Vec<Pair<f64>>,
    /// What there is to be seen.
    pub statistics: PreferenceStatistics,
}

/// Gives each of a completion's tokens the gradient of their sum.
pub fn per_token(d_log_prob: f64, d_log_probs: &mut [f32]) {
    d_log_probs.fill(d_log_prob as f32);
}

/// What is to be seen of a step; those of micro-batches add up.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PreferenceStatistics {
    chosen: Mean,
    rejected: Mean,
    correct: Mean,
    chosen_log_prob: Mean,
    rejected_log_prob: Mean,
}

impl PreferenceStatistics {
    /// `reward` is the implicit one: what the loss makes of a completion.
    pub(super) fn see(&mut self, desirable: bool, reward: f64, sequence: &Sequence) {
        let (mean, log_prob) = match desirable {
            true => (&mut self.chosen, &mut self.chosen_log_prob),
            false => (&mut self.rejected, &mut self.rejected_log_prob),
        };
        mean.see(reward);
        log_prob.see(sequence.log_prob);
    }

    /// The chosen ones' mean implicit reward.
    pub fn chosen(&self) -> Option<f64> {
        self.chosen.get()
    }

    /// The rejected ones' mean implicit reward.
    pub fn rejected(&self) -> Option<f64> {
        self.rejected.get()
    }

    /// How much the former is above the latter.
    pub fn margin(&self) -> Option<f64> {
        Some(self.chosen()? - self.rejected()?)
    }

    /// The share of pairs whose chosen one has the higher reward; `None` where there are no pairs.
    pub fn accuracy(&self) -> Option<f64> {
        self.correct.get()
    }

    /// All that is known, by name; TRL's names.
    pub fn figures(&self) -> Vec<(&'static str, f64)> {
        let all = [
            ("rewards/chosen", self.chosen()),
            ("rewards/rejected", self.rejected()),
            ("rewards/margins", self.margin()),
            ("rewards/accuracies", self.accuracy()),
            ("logps/chosen", self.chosen_log_prob.get()),
            ("logps/rejected", self.rejected_log_prob.get()),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

impl AddAssign for PreferenceStatistics {
    fn add_assign(&mut self, other: PreferenceStatistics) {
        self.chosen += other.chosen;
        self.rejected += other.rejected;
        self.correct += other.correct;
        self.chosen_log_prob += other.chosen_log_prob;
        self.rejected_log_prob += other.rejected_log_prob;
    }
}

/// One pair's loss, its derivatives, and the rewards it implies.
struct Outcome {
    loss: f64,
    d: Pair<f64>,
    rewards: Pair<f64>,
}

impl Preference {
    /// # Errors
    /// A setting isn't one that can be trained with.
    pub fn check(&self) -> Result<(), Error> {
        let above_0 = |field, value: f64| match value.is_finite() && value > 0.0 {
            true => Ok(()),
            false => Err(setting(field, format!("{value} is not a number above 0"))),
        };
        match *self {
            Preference::Dpo { beta, label_smoothing, nll_coefficient } => {
                above_0("beta", beta)?;
                at_least("nll_coefficient", nll_coefficient, 0.0)?;
                if !(0.0..0.5).contains(&label_smoothing) {
                    let problem = format!("{label_smoothing} is not from 0 to below 0.5");
                    return Err(setting("label_smoothing", problem));
                }
                Ok(())
            }
            Preference::Ipo { beta, nll_coefficient } => {
                above_0("beta", beta)?;
                at_least("nll_coefficient", nll_coefficient, 0.0)
            }
            Preference::Simpo { beta, gamma, nll_coefficient } => {
                above_0("beta", beta)?;
                at_least("gamma", gamma, 0.0)?;
                at_least("nll_coefficient", nll_coefficient, 0.0)
            }
            Preference::Orpo { lambda } => at_least("lambda", lambda, 0.0),
        }
    }

    /// Whether a reference's log-probabilities are needed.
    pub fn needs_reference(&self) -> bool {
        matches!(self, Preference::Dpo { .. } | Preference::Ipo { .. })
    }

    /// The loss of a micro-batch's pairs, and its gradients. `of` is the number of the step's
    /// pairs: the loss is a mean over them.
    ///
    /// # Errors
    /// A setting is bad; `of` is 0 but there are pairs; a completion has no tokens, a
    /// log-probability that isn't finite, or lacks the reference's.
    pub fn loss(&self, pairs: &[Pair], of: usize) -> Result<PreferenceLoss, Error> {
        self.check()?;
        if of == 0 && !pairs.is_empty() {
            return Err(setting("of", "0 pairs in the step, but some in its micro-batch"));
        }
        let mut out = PreferenceLoss::default();
        let share = 1.0 / of.max(1) as f64;
        for (at, pair) in pairs.iter().enumerate() {
            pair.chosen.check("chosen", at)?;
            pair.rejected.check("rejected", at)?;
            let Outcome { loss, d, rewards } = self.of_pair(pair, at)?;
            if ![loss, d.chosen, d.rejected].iter().all(|x| x.is_finite()) {
                return Err(item("log_prob", at, "too far from the other one: no finite loss"));
            }
            out.loss += share * loss;
            out.d_log_probs.push(Pair { chosen: share * d.chosen, rejected: share * d.rejected });
            out.statistics.see(true, rewards.chosen, &pair.chosen);
            out.statistics.see(false, rewards.rejected, &pair.rejected);
            out.statistics.correct.see(f64::from(u8::from(rewards.chosen > rewards.rejected)));
        }
        Ok(out)
    }

    fn of_pair(&self, pair: &Pair, at: usize) -> Result<Outcome, Error> {
        let log_ratios = || -> Result<Pair<f64>, Error> {
            Ok(Pair { chosen: pair.chosen.log_ratio(at)?, rejected: pair.rejected.log_ratio(at)? })
        };
        let lengths = pair.map(|s| s.tokens as f64);
        let means = pair.map(Sequence::mean);
        // The derivatives of the loss with respect to the better one's figure and, with another
        // sign, the worse one's; then what those figures are of their log-probabilities.
        let (loss, d, slopes, rewards, nll_coefficient) = match *self {
            Preference::Dpo { beta, label_smoothing, nll_coefficient } => {
                let above = log_ratios()?;
                let logit = beta * (above.chosen - above.rejected);
                let (right, wrong) = (1.0 - label_smoothing, label_smoothing);
                let loss = -right * log_sigmoid(logit) - wrong * log_sigmoid(-logit);
                let d = beta * (wrong * sigmoid(logit) - right * sigmoid(-logit));
                (
                    loss,
                    d,
                    Pair { chosen: 1.0, rejected: 1.0 },
                    above.map(|a| beta * a),
                    nll_coefficient,
                )
            }
            Preference::Ipo { beta, nll_coefficient } => {
                let above = log_ratios()?;
                let off = above.chosen / lengths.chosen
                    - above.rejected / lengths.rejected
                    - 1.0 / (2.0 * beta);
                (
                    off * off,
                    2.0 * off,
                    lengths.map(|n| 1.0 / n),
                    above.map(|a| beta * a),
                    nll_coefficient,
                )
            }
            Preference::Simpo { beta, gamma, nll_coefficient } => {
                let logit = beta * (means.chosen - means.rejected) - gamma;
                let d = -beta * sigmoid(-logit);
                let slopes = lengths.map(|n| 1.0 / n);
                (-log_sigmoid(logit), d, slopes, means.map(|m| beta * m), nll_coefficient)
            }
            Preference::Orpo { lambda } => {
                let sure = means.map(|m| m.min(SUREST));
                // ln(p / (1 - p)), and its derivative 1 / (1 - p).
                let log_odds = sure.map(|m| m - (-m.exp_m1()).ln());
                let logit = log_odds.chosen - log_odds.rejected;
                let d = -lambda * sigmoid(-logit);
                let slopes = Pair {
                    chosen: -1.0 / (sure.chosen.exp_m1() * lengths.chosen),
                    rejected: -1.0 / (sure.rejected.exp_m1() * lengths.rejected),
                };
                (-lambda * log_sigmoid(logit), d, slopes, means.map(|m| lambda * m), 1.0)
            }
        };
        Ok(Outcome {
            loss: loss - nll_coefficient * means.chosen,
            d: Pair {
                chosen: d * slopes.chosen - nll_coefficient / lengths.chosen,
                rejected: -d * slopes.rejected,
            },
            rewards,
        })
    }
}

impl<T> Pair<T> {
    fn map<U>(&self, f: impl Fn(&T) -> U) -> Pair<U> {
        Pair { chosen: f(&self.chosen), rejected: f(&self.rejected) }
    }
}
