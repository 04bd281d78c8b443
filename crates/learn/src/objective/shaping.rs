//! Rewards for length, to be added to those for being right.

use serde::{Deserialize, Serialize};

use super::Error;
use super::error::setting;

/// DAPO's soft overlong punishment (arXiv:2503.14476): 0 up to `max_tokens - buffer` tokens, then
/// falling evenly to -1 at `max_tokens`, and -1 beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overlong {
    /// The most tokens a completion should have.
    pub max_tokens: usize,
    /// Over how many of the last of them the punishment sets in; 0 is all at once, beyond
    /// `max_tokens`.
    pub buffer: usize,
}

impl Overlong {
    /// The reward, from -1 to 0, of a completion of so many tokens.
    ///
    /// # Errors
    /// The buffer exceeds the most tokens.
    pub fn reward(&self, tokens: usize) -> Result<f64, Error> {
        let Some(free) = self.max_tokens.checked_sub(self.buffer) else {
            let problem = format!("{} exceeds max_tokens = {}", self.buffer, self.max_tokens);
            return Err(setting("buffer", problem));
        };
        Ok(match tokens {
            _ if tokens <= free => 0.0,
            _ if tokens > self.max_tokens => -1.0,
            _ => -((tokens - free) as f64) / self.buffer as f64,
        })
    }
}

/// Kimi k1.5's length reward (arXiv:2501.12599) of the completions of one prompt, given as tokens
/// and whether they are right: from 0.5 for the shortest to -0.5 for the longest, and of a wrong
/// one no more than 0. Where all are of one length they get 0.
pub fn length_rewards(completions: &[(usize, bool)]) -> Vec<f64> {
    let lengths = || completions.iter().map(|(tokens, _)| *tokens);
    let (Some(least), Some(most)) = (lengths().min(), lengths().max()) else { return vec![] };
    let reward = |(tokens, right): &(usize, bool)| {
        if least == most {
            return 0.0;
        }
        let reward = 0.5 - (tokens - least) as f64 / (most - least) as f64;
        if *right { reward } else { reward.min(0.0) }
    };
    completions.iter().map(reward).collect()
}

/// The cosine reward (arXiv:2502.03373): from one value for no tokens to another for `max_tokens`,
/// along half a cosine. With the paper's values being right in fewer tokens is worth more, and
/// being wrong is worth less the less was thought about it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cosine {
    /// Where completions end.
    pub max_tokens: usize,
    /// For a right one of no tokens.
    pub right_shortest: f64,
    /// For a right one of `max_tokens`.
    pub right_longest: f64,
    /// For a wrong one of no tokens.
    pub wrong_shortest: f64,
    /// For a wrong one of `max_tokens`.
    pub wrong_longest: f64,
    /// For one that reached `max_tokens` and was cut off.
    pub exceeded: f64,
}

impl Default for Cosine {
    fn default() -> Cosine {
        Cosine {
            max_tokens: 4096,
            right_shortest: 2.0,
            right_longest: 1.0,
            wrong_shortest: -10.0,
            wrong_longest: 0.0,
            exceeded: -10.0,
        }
    }
}

impl Cosine {
    /// The reward of a completion of so many tokens that is right or wrong. It takes the place of
    /// the reward for being right.
    pub fn reward(&self, tokens: usize, right: bool) -> f64 {
        if tokens >= self.max_tokens {
            return self.exceeded;
        }
        let (shortest, longest) = match right {
            true => (self.right_shortest, self.right_longest),
            false => (self.wrong_shortest, self.wrong_longest),
        };
        let angle = std::f64::consts::PI * tokens as f64 / self.max_tokens as f64;
        longest + 0.5 * (shortest - longest) * (1.0 + angle.cos())
    }
}
