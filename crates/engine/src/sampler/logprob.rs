//! Log-probabilities: what the model itself thought of a token, before sampling changed it.

use super::{exp, filters};

/// The natural logarithm of the sum of the logits' exponentials: a token's log-probability is
/// its logit minus this. Minus infinity if no logit is above it.
pub fn log_sum_exp(logits: &[f32]) -> f64 {
    let max = filters::max(logits);
    if max == f32::NEG_INFINITY {
        return f64::NEG_INFINITY;
    }
    f64::from(max) + exp::sum(logits, max).ln()
}

/// The natural logarithm of a token's probability; minus infinity for a token that is impossible
/// or not in the vocabulary.
pub fn log_prob(logits: &[f32], token: u32) -> f32 {
    match logits.get(token as usize) {
        Some(&logit) => relative(logit, log_sum_exp(logits)),
        None => f32::NEG_INFINITY,
    }
}

/// The `n` most likely tokens with their log-probabilities, best first.
pub fn top_logprobs(logits: &[f32], n: usize) -> Vec<(u32, f32)> {
    if n == 0 {
        return Vec::new();
    }
    let sum = log_sum_exp(logits);
    let mut best = Vec::new();
    filters::top_k(logits, n.min(logits.len()), &mut best);
    best.iter().map(|c| (c.id, relative(c.logit, sum))).collect()
}

fn relative(logit: f32, sum: f64) -> f32 {
    // False for NaN, too.
    if logit > f32::NEG_INFINITY {
        (f64::from(logit.min(f32::MAX)) - sum) as f32
    } else {
        f32::NEG_INFINITY
    }
}
