//! How sure a model was of what it wrote.

use engine::TokenLogprob;
use serde::{Deserialize, Serialize};

/// Of so many of the likeliest tokens the log-probabilities are averaged.
pub(crate) const TOP: usize = 20;
/// Tokens of a group, over which confidence is averaged.
const GROUP: usize = 128;

/// Confidence in one text (Fu et al. 2025, DeepConf). The confidence in a token is the negative mean
/// log-probability of the twenty likeliest: high where one stands out and the rest are nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Confidence {
    /// Mean log-probability of the tokens that were drawn, in nats.
    pub mean_logprob: f64,
    /// Mean confidence of all tokens.
    pub mean: f64,
    /// Of the last 128.
    pub tail: f64,
    /// Of those 128 in a row where it was lowest.
    pub lowest: f64,
}

/// One token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sure {
    pub(crate) logprob: f32,
    pub(crate) confidence: f32,
}

impl Sure {
    pub(crate) fn of(token: &TokenLogprob) -> Sure {
        let top = &token.top;
        let sum: f32 = top.iter().map(|(_, logprob)| logprob).sum();
        Sure { logprob: token.logprob, confidence: -sum / top.len().max(1) as f32 }
    }
}

impl Confidence {
    /// Of a text's tokens; none if there are none.
    pub(crate) fn of(tokens: &[Sure]) -> Option<Confidence> {
        if tokens.is_empty() {
            return None;
        }
        let mean = |tokens: &[Sure], of: fn(&Sure) -> f32| {
            tokens.iter().map(|t| f64::from(of(t))).sum::<f64>() / tokens.len() as f64
        };
        let confidence = |tokens: &[Sure]| mean(tokens, |t| t.confidence);
        let group = GROUP.min(tokens.len());
        let mut sum: f64 = tokens[..group].iter().map(|t| f64::from(t.confidence)).sum();
        let mut lowest = sum;
        for (new, old) in tokens[group..].iter().zip(tokens) {
            sum += f64::from(new.confidence) - f64::from(old.confidence);
            lowest = lowest.min(sum);
        }
        Some(Confidence {
            mean_logprob: mean(tokens, |t| t.logprob),
            mean: confidence(tokens),
            tail: confidence(&tokens[tokens.len() - group..]),
            lowest: lowest / group as f64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_slide() {
        let token = |confidence: f32| Sure { logprob: -1.0, confidence };
        let mut tokens = vec![token(10.0); 300];
        tokens[100..228].fill(token(2.0));
        let c = Confidence::of(&tokens).unwrap();
        assert_eq!((c.mean_logprob, c.lowest), (-1.0, 2.0));
        // The last 128 begin at 172: 56 of them are low.
        assert!((c.tail - (56.0 * 2.0 + 72.0 * 10.0) / 128.0).abs() < 1e-9);
        assert_eq!(Confidence::of(&[]), None);
        assert_eq!(Confidence::of(&[token(3.0)]).unwrap().lowest, 3.0);
    }
}
