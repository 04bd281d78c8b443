//! Drawing the next token from logits.
//!
//! Logits go in, one token comes out. The order is fixed: penalties and biases, then the mask,
//! then top-k, typical-p, top-p, min-p, and the temperature last, so that the filters judge the
//! model's own probabilities and the temperature only reshapes what they kept.
//!
//! A [`Sampler`] belongs to one sequence and owns its random numbers: what other sequences share
//! the batch never changes what it draws.

mod draw;
mod exp;
mod filters;
mod history;
mod logprob;
mod settings;

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

pub use draw::random_seed;
pub use logprob::{LogProbs, log_sum_exp};
pub use settings::{Sampling, SamplingError};

use draw::Draws;
use filters::{Candidate, Kept};
use history::History;

/// Draws the tokens of one sequence.
#[derive(Clone, Debug)]
pub struct Sampler {
    sampling: Sampling,
    vocab_size: usize,
    history: History,
    draws: Draws,
    /// What the filters kept; only here so that it is allocated once.
    candidates: Vec<Candidate>,
}

impl Sampler {
    /// A sampler for a sequence that is empty so far. Tokens from `vocab_size` on are padding
    /// of the model's output and are never drawn.
    ///
    /// # Errors
    /// A setting outside its range, or a bias for a token that the vocabulary does not have.
    pub fn new(sampling: Sampling, vocab_size: usize) -> Result<Self, SamplingError> {
        sampling.check(vocab_size)?;
        Ok(Self {
            history: History::new(&sampling),
            draws: Draws::new(sampling.seed),
            candidates: Vec::new(),
            sampling,
            vocab_size,
        })
    }

    /// The seed in use: the one asked for, or the one that was made up.
    pub fn seed(&self) -> u64 {
        self.draws.seed()
    }

    /// A sampler that draws with the random numbers this one is going to use, for guessing what it
    /// will draw. It knows nothing of the text so far, so penalties don't move it.
    pub fn ahead(&self) -> Sampler {
        let sampling = Sampling {
            logit_bias: Vec::new(),
            dry_multiplier: 0.0,
            dry_sequence_breakers: Vec::new(),
            ..self.sampling.clone()
        };
        Sampler {
            history: History::new(&sampling),
            draws: self.draws.clone(),
            candidates: Vec::new(),
            sampling,
            vocab_size: self.vocab_size,
        }
    }

    /// Records the prompt. Repetition penalty and DRY look at it; presence and frequency
    /// penalties count generated tokens only.
    pub fn accept_prompt(&mut self, tokens: &[u32]) {
        for &token in tokens {
            self.history.push(token, false);
        }
    }

    /// Records a generated token, whether it was drawn here or forced by the caller.
    pub fn accept(&mut self, token: u32) {
        self.history.push(token, true);
    }

    /// Draws the next token; the caller then says [`Sampler::accept`].
    ///
    /// `logits` has one entry a token and is overwritten: take log-probabilities before.
    /// `mask` has one bit a token (bit `t % 32` of word `t / 32`) and a clear bit forbids the
    /// token; tokens past its end are forbidden. NaN counts as impossible. Where nothing is
    /// possible the lowest token that the mask allows is returned.
    ///
    /// Every call uses up exactly one random number, so token `n` of a sequence depends on the
    /// seed, on `n` and on the logits alone.
    pub fn sample(&mut self, logits: &mut [f32], mask: Option<&[u32]>) -> u32 {
        let unit = self.draws.next_unit();
        let logits = self.adjust(logits, mask);
        let max = filters::max(logits);
        if max == f32::NEG_INFINITY {
            return lowest_allowed(mask);
        }
        if self.sampling.is_greedy() {
            return filters::first_at(logits, max);
        }
        let temperature = self.sampling.temperature;
        match filters::keep(logits, max, &self.sampling, &mut self.candidates) {
            Kept::All => draw::from_all(logits, max, temperature, unit),
            Kept::Some => draw::from_few(&self.candidates, temperature, unit),
        }
    }

    /// Penalties, biases and the mask, written into the logits of the real vocabulary.
    fn adjust<'a>(&mut self, logits: &'a mut [f32], mask: Option<&[u32]>) -> &'a [f32] {
        let real = self.vocab_size.min(logits.len());
        let logits = &mut logits[..real];
        self.history.penalize(logits, &self.sampling);
        for &(token, bias) in &self.sampling.logit_bias {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit += bias;
            }
        }
        if let Some(mask) = mask {
            forbid(logits, mask);
        }
        logits
    }
}

/// Sets the logits of tokens whose bit is clear to minus infinity.
fn forbid(logits: &mut [f32], mask: &[u32]) {
    let words = mask.iter().copied().chain(std::iter::repeat(0));
    for (chunk, word) in logits.chunks_mut(32).zip(words) {
        if word == u32::MAX {
            continue;
        }
        for (bit, logit) in chunk.iter_mut().enumerate() {
            if word >> bit & 1 == 0 {
                *logit = f32::NEG_INFINITY;
            }
        }
    }
}

/// The lowest token that the mask allows, 0 without one.
fn lowest_allowed(mask: Option<&[u32]>) -> u32 {
    let words = mask.unwrap_or_default();
    words
        .iter()
        .position(|&word| word != 0)
        .map_or(0, |i| i as u32 * 32 + words[i].trailing_zeros())
}
