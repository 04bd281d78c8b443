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
//! said) and, where that says nothing, from a smaller model of the same vocabulary ([`draft`]). How
//! many depends on what guesses so founded have been worth lately and on what a row of a batch
//! costs here ([`cost`]).

mod cost;
mod draft;
mod ngram;

pub(crate) use cost::StepCost;
pub(crate) use draft::{Draft, Place, step_seconds};

use model::Sequence;
use ngram::{Ground, Ngrams};

/// Most tokens guessed at a time.
const MOST: usize = 16;
/// Most tokens guessed while it isn't known what a row costs.
const FEW: usize = 2;
/// Steps without a guess before another is tried, where guesses have been worthless.
const PATIENCE: u32 = 24;
/// An answer is expected to go on for as long again as it has gone on, and at least so long.
const GOES_ON: usize = 32;

/// What guesses of one kind have been worth in one text.
#[derive(Clone, Copy)]
struct Record {
    /// Share of guesses that came true, the later ones counting more.
    rate: f64,
    /// Times that a guess was not worth it.
    idle: u32,
}

impl Record {
    const fn new(rate: f64) -> Record {
        Record { rate, idle: 0 }
    }

    /// How many tokens are worth guessing if each costs `worth`, as a share of a token without
    /// guesses: the n-th comes true with probability `rate^n`.
    fn length(&mut self, worth: f64, most: usize) -> usize {
        let mut chance = self.rate;
        let mut n = 0;
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

    /// What `n` guesses save at each token of the text, as a share of a token without them.
    fn saving(&self, worth: f64, n: usize) -> f64 {
        let drawn: f64 = (0..=n as i32).map(|i| self.rate.powi(i)).sum();
        1.0 - (1.0 + n as f64 * worth) / drawn
    }

    /// Each guess that was tried is one experience: those that came true, and the first failure.
    fn learn(&mut self, guessed: usize, came_true: usize) {
        for _ in 0..came_true {
            self.rate += 0.1 * (1.0 - self.rate);
        }
        if came_true < guessed {
            self.rate -= 0.1 * self.rate;
        }
    }
}

/// Where the guesses of a step came from.
#[derive(Clone, Copy)]
enum Source {
    Text(Ground),
    Draft,
}

/// What guessing knows of one text.
pub(crate) struct Guesses {
    on: bool,
    ngrams: Ngrams,
    /// By [`Ground`].
    text: [Record; 4],
    draft: Record,
    source: Source,
    /// The text's place in the draft model's cache.
    kv: Sequence,
}

/// What there is to know about a step before guessing.
pub(crate) struct Outlook<'a> {
    pub(crate) cost: &'a StepCost,
    /// Texts that are answered in it.
    pub(crate) rows: usize,
    /// Tokens that the text has room for.
    pub(crate) room: usize,
    /// So many guesses, worth it or not.
    pub(crate) fixed: Option<usize>,
}

impl Outlook<'_> {
    fn most(&self) -> usize {
        self.room.min(if self.cost.is_measured() { MOST } else { FEW })
    }
}

impl Guesses {
    pub(crate) fn new(on: bool) -> Guesses {
        Guesses {
            on,
            ngrams: Ngrams::default(),
            text: [Record::new(0.5), Record::new(0.5), Record::new(0.7), Record::new(0.9)],
            draft: Record::new(0.7),
            source: Source::Draft,
            kv: Sequence::default(),
        }
    }

    pub(crate) fn are_on(&self) -> bool {
        self.on
    }

    /// The tokens that are likely to come next, judging by the text itself, as many as are worth it.
    pub(crate) fn in_text(&mut self, tokens: &[u32], outlook: &Outlook<'_>) -> Vec<u32> {
        let Some((at, ground)) = self.ngrams.find(tokens) else { return Vec::new() };
        let n = match outlook.fixed {
            Some(n) => n.min(outlook.room),
            None => {
                let worth = outlook.cost.row_share(outlook.rows, 0.0);
                self.text[ground as usize].length(worth, outlook.most())
            }
        };
        self.source = Source::Text(ground);
        tokens[at..tokens.len().min(at + n)].to_vec()
    }

    /// How many tokens are worth guessing with a draft model, of which each costs it `extra`
    /// seconds, where reading what it hasn't read of the text takes `reading` seconds. That has to
    /// be won back before the answer, so far of `generated` tokens, is likely to be over.
    pub(crate) fn for_draft(
        &mut self,
        outlook: &Outlook<'_>,
        extra: f64,
        reading: f64,
        generated: usize,
    ) -> usize {
        if let Some(n) = outlook.fixed {
            self.source = Source::Draft;
            return n.min(outlook.room);
        }
        let worth = outlook.cost.row_share(outlook.rows, extra);
        let n = self.draft.length(worth, outlook.most());
        let left = outlook.room.min(generated.max(GOES_ON)) as f64;
        let token = outlook.cost.token_seconds(outlook.rows);
        if n == 0 || self.draft.saving(worth, n) * left * token < reading {
            return 0;
        }
        self.source = Source::Draft;
        n
    }

    /// Notes how many of the guesses came true.
    pub(crate) fn learn(&mut self, guessed: usize, came_true: usize) {
        let record = match self.source {
            Source::Text(ground) => &mut self.text[ground as usize],
            Source::Draft => &mut self.draft,
        };
        record.learn(guessed, came_true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A step takes 20 ms and 2 ms a row.
    fn cost() -> StepCost {
        let mut cost = StepCost::default();
        for i in 0..100 {
            let rows = 1 + i % 5;
            cost.saw(rows, 0.020 + 0.002 * rows as f64);
        }
        cost
    }

    fn outlook(cost: &StepCost) -> Outlook<'_> {
        Outlook { cost, rows: 1, room: 1000, fixed: None }
    }

    #[test]
    fn well_founded_guesses_are_longer() {
        let cost = cost();
        let mut text: Vec<u32> = (0..100).collect();
        text.extend(0..50);
        let all = Guesses::new(true).in_text(&text, &outlook(&cost)).len();
        let few = Guesses::new(true).in_text(&text[..103], &outlook(&cost)).len();
        assert!(all > few && few > 0, "{all} {few}");
    }

    #[test]
    fn worthless_guesses_end() {
        let cost = cost();
        let text = [1, 2, 3, 4, 1, 2, 3];
        let mut guesses = Guesses::new(true);
        let mut guessed = 0;
        for _ in 0..200 {
            let n = guesses.in_text(&text, &outlook(&cost)).len();
            guesses.learn(n, 0);
            guessed += n;
        }
        assert!((20..60).contains(&guessed), "{guessed}");
    }

    #[test]
    fn a_draft_model_reads_only_what_pays() {
        let cost = cost();
        let ask = |extra, reading, generated| {
            Guesses::new(true).for_draft(&outlook(&cost), extra, reading, generated)
        };
        assert!(ask(0.004, 0.0, 0) > 0);
        assert_eq!(ask(0.030, 0.0, 0), 0, "a guess that costs more than a token");
        assert_eq!(ask(0.004, 2.0, 0), 0, "a long prompt, and nothing yet to show that it pays");
        assert!(ask(0.004, 2.0, 2000) > 0);
        let ends = Outlook { room: 10, ..outlook(&cost) };
        assert_eq!(Guesses::new(true).for_draft(&ends, 0.004, 2.0, 2000), 0);
    }

    #[test]
    fn savings_are_what_the_sum_says() {
        // Two guesses at a quarter each: 1.5 tokens' time for 1 + 0.5 + 0.25 tokens.
        assert!((Record::new(0.5).saving(0.25, 2) - (1.0 - 1.5 / 1.75)).abs() < 1e-12);
        assert_eq!(Record::new(0.5).saving(0.25, 0), 0.0);
    }
}
