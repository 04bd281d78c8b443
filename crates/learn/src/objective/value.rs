//! What PPO (arXiv:1707.06347) adds: advantages from a value function, and the loss of that.

use serde::{Deserialize, Serialize};

use super::Error;
use super::error::{at_least, finite, setting};

/// Generalized advantage estimation (arXiv:1506.02438).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gae {
    /// What a reward one token later is worth, from 0 to 1.
    pub gamma: f64,
    /// How far rewards are trusted over values, from 0 to 1. The default doesn't let a long
    /// completion's end fade away (Open-Reasoner-Zero, arXiv:2503.24290).
    pub lambda: f64,
}

impl Default for Gae {
    fn default() -> Gae {
        Gae { gamma: 1.0, lambda: 1.0 }
    }
}

/// What a completion's tokens were worth.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Estimates {
    /// By how much each token was better than was expected, for [`super::Advantage::Tokens`].
    pub advantages: Vec<f32>,
    /// What the value function should have said at each token.
    pub returns: Vec<f32>,
}

impl Gae {
    /// The estimates of one completion, from one reward and one value a token: the value is what
    /// was expected *before* the token. `bootstrap` is the value after the last one: 0 where the
    /// completion has ended, and what the value function says where it was cut off.
    ///
    /// # Errors
    /// A setting is outside 0 to 1; there is another number of values than of rewards; a number
    /// isn't finite.
    pub fn estimate(
        &self,
        rewards: &[f32],
        values: &[f32],
        bootstrap: f32,
    ) -> Result<Estimates, Error> {
        for (field, value) in [("gamma", self.gamma), ("lambda", self.lambda)] {
            if !(0.0..=1.0).contains(&value) {
                return Err(setting(field, format!("{value} is not from 0 to 1")));
            }
        }
        if rewards.len() != values.len() {
            let problem = format!("{} for {} rewards", values.len(), rewards.len());
            return Err(setting("values", problem));
        }
        finite("rewards", rewards)?;
        finite("values", values)?;
        finite("bootstrap", &[bootstrap])?;
        let mut out =
            Estimates { advantages: vec![0.0; rewards.len()], returns: vec![0.0; rewards.len()] };
        let (mut next, mut advantage) = (f64::from(bootstrap), 0.0);
        for token in (0..rewards.len()).rev() {
            let value = f64::from(values[token]);
            let surprise = f64::from(rewards[token]) + self.gamma * next - value;
            advantage = surprise + self.gamma * self.lambda * advantage;
            out.advantages[token] = advantage as f32;
            out.returns[token] = (advantage + value) as f32;
            next = value;
        }
        finite("advantages", &out.advantages)?;
        finite("returns", &out.returns)?;
        Ok(out)
    }
}

/// Half the mean squared error of values, where the worse counts of the value and of what it would
/// be no further than `clip` from the old one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ValueLoss {
    /// How far a value may go from the old one; `None` doesn't clip.
    pub clip: Option<f64>,
}

impl Default for ValueLoss {
    fn default() -> ValueLoss {
        ValueLoss { clip: Some(0.2) }
    }
}

/// What a micro-batch's values come to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Values {
    /// Their part of the step's loss: those of all micro-batches add up to it.
    pub loss: f64,
    /// The loss's gradient with respect to each value.
    pub d_values: Vec<f32>,
    /// How many values were clipped, and have no gradient.
    pub clipped: usize,
}

impl ValueLoss {
    /// The loss of a micro-batch's values, one a token, against what was returned and what they
    /// were when that was worked out. `of` is the number of the step's tokens.
    ///
    /// # Errors
    /// `clip` is negative; `of` is 0 but there are values; slices are of different lengths; a
    /// number isn't finite.
    pub fn loss(
        &self,
        values: &[f32],
        old_values: &[f32],
        returns: &[f32],
        of: usize,
    ) -> Result<Values, Error> {
        at_least("clip", self.clip.unwrap_or(0.0), 0.0)?;
        if of == 0 && !values.is_empty() {
            return Err(setting("of", "0 tokens in the step, but some in its micro-batch"));
        }
        for (field, other) in [("old_values", old_values), ("returns", returns)] {
            if other.len() != values.len() {
                let problem = format!("{} for {} values", other.len(), values.len());
                return Err(setting(field, problem));
            }
            finite(field, other)?;
        }
        finite("values", values)?;
        let mut out = Values::default();
        let share = 1.0 / of.max(1) as f64;
        let clip = self.clip.unwrap_or(f64::INFINITY);
        for ((value, old), returned) in values.iter().zip(old_values).zip(returns) {
            let (value, old) = (f64::from(*value), f64::from(*old));
            let off = value - f64::from(*returned);
            let clipped = old + (value - old).clamp(-clip, clip) - f64::from(*returned);
            // Within bounds both are the same but for rounding, and the gradient is there.
            let cut = (value - old).abs() > clip && clipped * clipped > off * off;
            let counts = if cut { clipped } else { off };
            out.loss += share * 0.5 * counts * counts;
            out.d_values.push(if cut { 0.0 } else { (share * off) as f32 });
            out.clipped += usize::from(cut);
        }
        finite("d_values", &out.d_values)?;
        Ok(out)
    }
}
