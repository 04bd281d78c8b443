//! Log-probabilities: what the model itself thought of a token, before sampling changed it, or what
//! it thinks at another temperature.

use super::{exp, filters};

/// The natural logarithm of the sum of the logits' exponentials: a token's log-probability is
/// its logit minus this. Minus infinity if no logit is above it.
pub fn log_sum_exp(logits: &[f32]) -> f64 {
    let max = filters::max(logits);
    if max == f32::NEG_INFINITY {
        return f64::NEG_INFINITY;
    }
    f64::from(max) + exp::sum(logits, max, 1.0).ln()
}

/// The natural logarithm of a token's probability at a temperature (above 0; 1: the model's own);
/// minus infinity for a token that is impossible or not in the vocabulary.
pub fn log_prob(logits: &[f32], token: u32, temperature: f32) -> f32 {
    match logits.get(token as usize) {
        Some(&logit) => At::new(logits, temperature).log_prob(logit),
        None => f32::NEG_INFINITY,
    }
}

/// The `n` most likely tokens with their log-probabilities at a temperature, best first.
pub fn top_logprobs(logits: &[f32], n: usize, temperature: f32) -> Vec<(u32, f32)> {
    if n == 0 {
        return Vec::new();
    }
    let at = At::new(logits, temperature);
    let mut best = Vec::new();
    filters::top_k(logits, n.min(logits.len()), &mut best);
    best.iter().map(|c| (c.id, at.log_prob(c.logit))).collect()
}

/// A distribution at a temperature.
struct At {
    max: f32,
    temperature: f32,
    /// `ln Σ exp((logit - max) / temperature)`.
    log_sum: f64,
}

impl At {
    fn new(logits: &[f32], temperature: f32) -> At {
        let max = filters::max(logits);
        let log_sum = exp::sum(logits, max, 1.0 / temperature).ln();
        At { max, temperature, log_sum }
    }

    fn log_prob(&self, logit: f32) -> f32 {
        // False for NaN, too.
        if logit > f32::NEG_INFINITY {
            let below = f64::from(logit.min(f32::MAX)) - f64::from(self.max);
            (below / f64::from(self.temperature) - self.log_sum) as f32
        } else {
            f32::NEG_INFINITY
        }
    }
}
