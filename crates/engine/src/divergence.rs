//! How far two adapters of one model are apart along a text.

use kernels::attention::KvType;
use model::{KvCache, Span, Want, Workspace};

use crate::sampler::LogProbs;
use crate::{Engine, Error, Lora};

/// Tokens of each of the two in one forward pass.
const BATCH: usize = 256;
/// Positions whose logits are worked out together.
const ROWS: usize = 16;

impl Engine {
    /// `Σ KL(p‖q)`, in nats, over the tokens of a text that count: `p` is what the model with the adapter `of` expects
    /// where they are, `q` what it expects with `from`. Of a text that was drawn from `p` at temperature 1 that is an
    /// estimate of how far whole answers are apart, and one that varies less than the ratio of their probabilities.
    ///
    /// # Errors
    /// As [`Engine::check_prompt`].
    pub fn divergence(
        &self,
        tokens: &[u32],
        counts: impl Fn(usize) -> bool,
        [of, from]: [Option<&Lora>; 2],
    ) -> Result<f64, Error> {
        self.check_prompt(tokens)?;
        let model = self.model();
        let vocab = model.vocab();
        let mut cache = KvCache::new(model.config(), KvType::F16, 2 * tokens.len() + model::PAGE);
        cache.shape().check()?;
        let mut work = Workspace::default();
        let mut sequences = [(); 2].map(|()| model.sequence(tokens.len()));
        let mut logits = [(); 2].map(|()| vec![0.0; ROWS * vocab]);
        let mut sum = 0.0;
        // Nothing follows the last one.
        let read = &tokens[..tokens.len() - 1];
        for (batch, tokens) in read.chunks(BATCH).enumerate() {
            let pairs = sequences.iter_mut().zip([of, from]);
            let mut spans: Vec<Span<'_>> = pairs
                .map(|(sequence, lora)| {
                    let adapter = lora.map(Lora::in_use);
                    Span { sequence, tokens, want: Want::All, adapter }
                })
                .collect();
            model.forward(&mut cache, &mut spans, &mut work)?;
            for first in (0..tokens.len()).step_by(ROWS) {
                let rows = first..tokens.len().min(first + ROWS);
                // The token that comes after the one in a row.
                let next = |row: usize| batch * BATCH + row + 1;
                if !rows.clone().any(|row| counts(next(row))) {
                    continue;
                }
                for (i, logits) in logits.iter_mut().enumerate() {
                    let at = i * tokens.len();
                    let out = &mut logits[..rows.len() * vocab];
                    model.logits(&mut work, at + rows.start..at + rows.end, out);
                }
                let [p, q] = &logits;
                let pairs = p.chunks_exact(vocab).zip(q.chunks_exact(vocab));
                let counted = rows.zip(pairs).filter(|(row, _)| counts(next(*row)));
                sum += counted.map(|(_, (p, q))| kl(p, q)).sum::<f64>();
            }
        }
        for sequence in sequences {
            cache.release(sequence);
        }
        Ok(sum)
    }
}

/// `KL(p‖q)` of the distributions that two rows of logits stand for.
fn kl(p: &[f32], q: &[f32]) -> f64 {
    let (of, from) = (LogProbs::new(p, 1.0), LogProbs::new(q, 1.0));
    let term = |token: u32| {
        let log_p = f64::from(of.of(token));
        match log_p.exp() {
            // Whatever the other thinks of it.
            0.0 => 0.0,
            p => p * (log_p - f64::from(from.of(token))),
        }
    };
    // Rounding may make a little less than nothing of it.
    (0..p.len() as u32).map(term).sum::<f64>().max(0.0)
}

#[cfg(test)]
mod tests {
    use super::kl;

    #[test]
    fn the_divergence_of_two_coins() {
        let coin = |heads: f32| [heads.ln() + 3.0, (1.0 - heads).ln() + 3.0];
        let expected = 0.75f64 * (0.75f64 / 0.5).ln() + 0.25 * (0.25f64 / 0.5).ln();
        assert!((kl(&coin(0.75), &coin(0.5)) - expected).abs() < 1e-6);
        assert_eq!(kl(&coin(0.3), &coin(0.3)), 0.0);
    }
}
