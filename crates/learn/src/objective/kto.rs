//! KTO (arXiv:2402.01306): completions that are each good or bad, without pairs.

use serde::{Deserialize, Serialize};

use super::error::{at_least, setting};
use super::mean::sigmoid;
use super::{Error, PreferenceStatistics, Sequence};

/// With `d` what a completion's log-probability has above the reference's and `z` the baseline:
/// `desirable_weight · (1 - σ(beta · (d - z)))` of a good one,
/// `undesirable_weight · (1 - σ(beta · (z - d)))` of a bad one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Kto {
    /// How much straying from the reference costs.
    pub beta: f64,
    /// How much good completions count. The paper has the products of weight and number of good
    /// and bad ones between 1:1 and 4:3.
    pub desirable_weight: f64,
    /// How much bad ones count.
    pub undesirable_weight: f64,
}

impl Default for Kto {
    fn default() -> Kto {
        Kto { beta: 0.1, desirable_weight: 1.0, undesirable_weight: 1.0 }
    }
}

/// A completion, and whether it is good.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Labelled {
    /// The completion.
    pub sequence: Sequence,
    /// Whether there should be more such.
    pub desirable: bool,
}

/// What a micro-batch comes to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KtoLoss {
    /// Its part of the step's loss: those of all micro-batches add up to it.
    pub loss: f64,
    /// The loss's gradient with respect to each completion's log-probability, and so to each of its
    /// tokens': [`super::per_token`].
    pub d_log_probs: Vec<f64>,
    /// What there is to be seen; there are no accuracies without pairs.
    pub statistics: PreferenceStatistics,
}

/// The baseline of a step, a rough estimate of the policy's divergence from the reference: the mean
/// of what log-probabilities have above the reference's, at least 0. The sequences are *mismatched*
/// ones, each prompt with the completion of another; no gradient flows through them.
///
/// # Errors
/// A sequence has no tokens, a log-probability that isn't finite, or lacks the reference's.
pub fn kto_baseline(mismatched: &[Sequence]) -> Result<f64, Error> {
    let mut sum = 0.0;
    for (at, sequence) in mismatched.iter().enumerate() {
        sequence.check("mismatched", at)?;
        sum += sequence.log_ratio(at)?;
    }
    Ok((sum / mismatched.len().max(1) as f64).max(0.0))
}

impl Kto {
    /// # Errors
    /// A setting isn't one that can be trained with.
    pub fn check(&self) -> Result<(), Error> {
        if !(self.beta.is_finite() && self.beta > 0.0) {
            return Err(setting("beta", format!("{} is not a number above 0", self.beta)));
        }
        at_least("desirable_weight", self.desirable_weight, 0.0)?;
        at_least("undesirable_weight", self.undesirable_weight, 0.0)
    }

    /// The loss of a micro-batch, and its gradients. `baseline` is the step's ([`kto_baseline`])
    /// and `of` the number of its completions: the loss is a mean over them.
    ///
    /// # Errors
    /// A setting or the baseline is bad; `of` is 0 but there are completions; a completion has no
    /// tokens, a log-probability that isn't finite, or lacks the reference's.
    pub fn loss(&self, examples: &[Labelled], baseline: f64, of: usize) -> Result<KtoLoss, Error> {
        self.check()?;
        at_least("baseline", baseline, 0.0)?;
        if of == 0 && !examples.is_empty() {
            return Err(setting("of", "0 completions in the step, but some in its micro-batch"));
        }
        let mut out = KtoLoss::default();
        for (at, Labelled { sequence, desirable }) in examples.iter().enumerate() {
            sequence.check("sequence", at)?;
            let above = sequence.log_ratio(at)?;
            let (sign, weight) = match desirable {
                true => (1.0, self.desirable_weight),
                false => (-1.0, self.undesirable_weight),
            };
            let share = weight / of as f64;
            let logit = sign * self.beta * (above - baseline);
            // 1 - σ(x) is σ(-x), without the rounding.
            let (value, rest) = (sigmoid(logit), sigmoid(-logit));
            out.loss += share * rest;
            out.d_log_probs.push(-share * value * rest * sign * self.beta);
            out.statistics.see(*desirable, self.beta * above, sequence);
        }
        Ok(out)
    }
}
