//! Log-probabilities: what the model itself thought of a token, before sampling changed it, or what
//! it thinks at another temperature.

use super::{exp, filters};

/// The natural logarithm of the sum of the logits' exponentials: a token's log-probability is
/// its logit minus this. Minus infinity if no logit is above it.
pub fn log_sum_exp(logits: &[f32]) -> f64 {
    let own = LogProbs::new(logits, 1.0);
    f64::from(own.max) + own.log_sum
}

/// The natural logarithms of a distribution's probabilities.
pub struct LogProbs<'a> {
    logits: &'a [f32],
    max: f32,
    temperature: f32,
    /// `ln Σ exp((logit - max) / temperature)`.
    log_sum: f64,
}

impl LogProbs<'_> {
    /// Those of the tokens with these logits, at a temperature above 0 (1: the model's own).
    pub fn new(logits: &[f32], temperature: f32) -> LogProbs<'_> {
        let max = filters::max(logits);
        let log_sum = exp::sum(logits, max, 1.0 / temperature).ln();
        LogProbs { logits, max, temperature, log_sum }
    }

    /// A token's; minus infinity for one that is impossible or not in the vocabulary.
    pub fn of(&self, token: u32) -> f32 {
        self.logits.get(token as usize).map_or(f32::NEG_INFINITY, |&logit| self.relative(logit))
    }

    /// The `n` most likely tokens with theirs, best first.
    pub fn top(&self, n: usize) -> Vec<(u32, f32)> {
        if n == 0 {
            return Vec::new();
        }
        let mut best = Vec::new();
        filters::top_k(self.logits, n.min(self.logits.len()), &mut best);
        best.iter().map(|c| (c.id, self.relative(c.logit))).collect()
    }

    fn relative(&self, logit: f32) -> f32 {
        // False for NaN, too.
        if logit > f32::NEG_INFINITY {
            let below = f64::from(logit.min(f32::MAX)) - f64::from(self.max);
            (below / f64::from(self.temperature) - self.log_sum) as f32
        } else {
            f32::NEG_INFINITY
        }
    }
}
