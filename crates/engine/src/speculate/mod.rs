//! Guessing ahead.
//!
//! Reading several tokens of a sequence at once costs little more than reading one, as the weights
//! are streamed from memory once. So a few tokens are guessed, all of them are read together, and
//! then each is *drawn* as it would have been without the guess: the guesses that come out as
//! drawn were worth it, the first that doesn't and all after it are forgotten. The text is the
//! same to the token, seed and all, since a guess never takes part in a draw; this is stronger than
//! the equality of distributions of speculative sampling (Leviathan et al. 2023), at the price of
//! a lower rate of acceptance when sampling. The draft model makes up for most of that by drawing
//! its guesses with the very random numbers that will be used for the real draws.
//!
//! Guesses come from the text itself ([`ngram`]: what followed the last time these tokens were
//! said) or from a smaller model of the same vocabulary ([`draft`]). How many depends on what they
//! have been worth lately and on what a row of a batch costs here ([`cost`]).

mod cost;
mod draft;
mod ngram;

pub(crate) use cost::StepCost;
pub(crate) use draft::{Draft, Place, step_seconds};

use model::Sequence;
use ngram::Ngrams;

/// Most tokens guessed at a time.
const MOST: usize = 16;
/// Most tokens guessed while it isn't known what a row costs.
const FEW: usize = 2;
/// What a guess of a draft model may cost, as a share of a token without guesses.
const DRAFT_PAYS: f64 = 0.6;
/// Steps without a guess before another is tried, where guesses have been worthless.
const PATIENCE: u32 = 24;

/// What guessing knows of one text.
pub(crate) struct Guesses {
    on: bool,
    ngrams: Ngrams,
    /// Share of guesses that came true, the later ones counting more.
    rate: f64,
    /// Steps without a guess.
    idle: u32,
    /// The text's place in the draft model's cache.
    kv: Sequence,
}

impl Guesses {
    pub(crate) fn new(on: bool) -> Guesses {
        Guesses { on, ngrams: Ngrams::default(), rate: 0.7, idle: 0, kv: Sequence::default() }
    }

    pub(crate) fn are_on(&self) -> bool {
        self.on
    }

    /// How many tokens are worth guessing, with `rows` texts in the batch and `extra` seconds for
    /// each guess. The next guess comes true with probability `rate^n`, and is worth it while that
    /// buys tokens faster than the step does without.
    pub(crate) fn length(&mut self, cost: &StepCost, rows: usize, extra: f64) -> usize {
        let worth = cost.row_share(rows, extra);
        // A draft model has to read the text first; a small gain would never pay for that.
        if extra > 0.0 && worth > DRAFT_PAYS {
            return 0;
        }
        let mut chance = self.rate;
        let mut n = 0;
        let most = if cost.is_measured() { MOST } else { FEW };
        while n < most && chance > worth {
            chance *= self.rate;
            n += 1;
        }
        if n == 0 {
            self.idle += 1;
            if self.idle >= PATIENCE && worth < 0.9 {
                self.idle = 0;
                return 1;
            }
        }
        n
    }

    /// Up to `n` tokens that followed the last tokens of the text when they were said before.
    pub(crate) fn after_text(&mut self, tokens: &[u32], n: usize) -> Vec<u32> {
        self.ngrams.guess(tokens, n).to_vec()
    }

    /// Notes how many of the guesses came true.
    pub(crate) fn learn(&mut self, guessed: usize, came_true: usize) {
        // Each guess that was tried is one experience: those that came true, and the first failure.
        for _ in 0..came_true {
            self.rate += 0.1 * (1.0 - self.rate);
        }
        if came_true < guessed {
            self.rate -= 0.1 * self.rate;
        }
    }
}
