//! Guesses of a smaller model with the same vocabulary.

use std::sync::Arc;
use std::time::Instant;

use model::{CacheOptions, KvCache, PAGE, Sequence, Span, Want, Workspace};

use super::{Guesses, MOST};
use crate::sampler::Sampler;
use crate::scheduler::{PrefixTree, STEP_TOKENS, variant_of};
use crate::{Engine, Error};

/// A text that wants guesses.
pub(crate) struct Place<'a> {
    /// All of it.
    pub(crate) tokens: &'a [u32],
    pub(crate) guesses: &'a mut Guesses,
    /// Draws as the text's own sampler will.
    pub(crate) sampler: Sampler,
    /// How many are wanted.
    pub(crate) n: usize,
    /// How many tokens must come before the one that ends the turn.
    pub(crate) no_end: usize,
}

/// The smaller model, and its memory of the texts under way.
pub(crate) struct Draft {
    engine: Arc<Engine>,
    cache: KvCache,
    work: Workspace,
    prefixes: PrefixTree,
    logits: Vec<f32>,
    /// Seconds a guess takes, the later ones counting more.
    token_seconds: f64,
    /// Seconds that reading a token of a text takes.
    reading_seconds: f64,
}

/// Tokens read at once to see how fast reading is.
const READ: usize = 64;

impl Draft {
    pub(crate) fn new(
        target: &Engine,
        engine: Arc<Engine>,
        cache: CacheOptions,
        tokens: usize,
    ) -> Result<Draft, Error> {
        let (a, b) = (target.tokenizer(), engine.tokenizer());
        let size = a.vocab_size().min(b.vocab_size());
        let other = (0..size as u32).find(|id| a.token_bytes(*id) != b.token_bytes(*id));
        if let Some(token) = other {
            return Err(Error::DraftVocabulary {
                target: target.name().to_owned(),
                draft: engine.name().to_owned(),
                token,
            });
        }
        let cache = KvCache::new(engine.model().config(), cache, tokens + PAGE);
        cache.shape().check()?;
        Ok(Draft {
            engine,
            cache,
            work: Workspace::default(),
            prefixes: PrefixTree::default(),
            logits: Vec::new(),
            token_seconds: 0.0,
            reading_seconds: 0.0,
        })
    }

    /// Takes the time of one guess and of reading, so that nothing is read for guesses that can't
    /// be worth it.
    pub(crate) fn calibrate(&mut self) -> Result<(), Error> {
        self.token_seconds =
            step_seconds(&self.engine, &mut self.cache, &mut self.work, 1, Want::All)?;
        let (engine, cache) = (&self.engine, &mut self.cache);
        let read = step_seconds(engine, cache, &mut self.work, READ, Want::Nothing)?;
        self.reading_seconds = read / READ as f64;
        Ok(())
    }

    /// Seconds that a guess takes.
    pub(crate) fn token_seconds(&self) -> f64 {
        self.token_seconds
    }

    /// Seconds that it takes to read what it hasn't of a text.
    pub(crate) fn reading_seconds(&self, tokens: &[u32], guesses: &Guesses) -> f64 {
        let scaled = self.scales(tokens);
        let known = match guesses.kv.len() {
            n if n > 0 && guesses.kv.is_scaled() == scaled => n,
            _ => self.prefixes.len_of(variant_of(scaled), tokens),
        };
        // A few tokens are part of every guess.
        let unread = tokens.len().saturating_sub(known + MOST);
        unread as f64 * self.reading_seconds
    }

    /// Whether a text that guesses are added to is read with its positions stretched.
    fn scales(&self, tokens: &[u32]) -> bool {
        self.engine.model().scales((tokens.len() + MOST).min(self.engine.context_length()))
    }

    /// Up to `n` guesses for each text. Where memory is short there are none.
    pub(crate) fn guess(&mut self, mut places: Vec<Place<'_>>) -> Result<Vec<Vec<u32>>, Error> {
        let mut guessed: Vec<Vec<u32>> = vec![Vec::new(); places.len()];
        let most = places.iter().map(|place| place.n).max().unwrap_or(0);
        if most == 0 {
            return Ok(guessed);
        }
        let vocab = self.engine.model().vocab();
        for place in &mut places {
            if place.n > 0 && !self.catch_up(place)? {
                place.n = 0;
            }
        }
        let started = Instant::now();
        let mut drawn = 0;
        for round in 0..most {
            let mut spans = Vec::new();
            let mut wanted = Vec::new();
            let inputs: Vec<u32> = places
                .iter()
                .zip(&guessed)
                .map(|(place, guessed)| guessed.last().copied().unwrap_or(*last(place.tokens)))
                .collect();
            for (i, place) in places.iter_mut().enumerate() {
                let kv = &mut place.guesses.kv;
                if place.n > round && self.cache.pages_needed(kv, 1) <= self.cache.free_pages() {
                    wanted.push(i);
                    let tokens = std::slice::from_ref(&inputs[i]);
                    spans.push(Span { sequence: kv, tokens, want: Want::Last, adapter: None });
                }
            }
            if spans.is_empty() {
                break;
            }
            let n = match self.engine.model().forward(&mut self.cache, &mut spans, &mut self.work) {
                Ok(n) => n,
                // Two texts wanted the last page: no guesses then.
                Err(model::Error::CacheFull { .. }) => break,
                Err(error) => return Err(error.into()),
            };
            self.logits.resize(n * vocab, 0.0);
            self.engine.model().logits(&mut self.work, 0..n, &mut self.logits);
            for (i, logits) in wanted.into_iter().zip(self.logits.chunks_exact_mut(vocab)) {
                if round < places[i].no_end {
                    self.engine.forbid_end(logits);
                }
                let token = places[i].sampler.sample(logits, None);
                guessed[i].push(token);
                drawn += 1;
                if self.engine.tokenizer().is_end_of_generation(token) {
                    places[i].n = 0;
                }
            }
        }
        if drawn > 0 {
            let seconds = started.elapsed().as_secs_f64() / f64::from(drawn);
            let share = if self.token_seconds == 0.0 { 1.0 } else { 0.1 };
            self.token_seconds += share * (seconds - self.token_seconds);
        }
        Ok(guessed)
    }

    /// Reads what the draft model hasn't seen of a text, but for its last token. Says whether
    /// there was memory for it.
    fn catch_up(&mut self, place: &mut Place<'_>) -> Result<bool, Error> {
        let known = &place.tokens[..place.tokens.len() - 1];
        let scaled = self.scales(place.tokens);
        let kv = &mut place.guesses.kv;
        if kv.is_scaled() != scaled {
            self.cache.release(std::mem::take(kv));
        }
        if kv.len() == 0 {
            *kv = self.prefixes.start(&mut self.cache, variant_of(scaled), known);
        }
        self.cache.truncate(kv, known.len());
        while kv.len() < known.len() {
            let from = kv.len();
            let tokens = &known[from..known.len().min(from + STEP_TOKENS)];
            while self.cache.pages_needed(kv, tokens.len()) > self.cache.free_pages() {
                if !self.prefixes.forget_one(&mut self.cache) {
                    return Ok(false);
                }
            }
            let span = Span { sequence: kv, tokens, want: Want::Nothing, adapter: None };
            self.engine.model().forward(&mut self.cache, &mut [span], &mut self.work)?;
        }
        Ok(true)
    }

    /// Forgets guesses that didn't come true: all that isn't in the text by now.
    pub(crate) fn settle(&mut self, tokens: &[u32], guesses: &mut Guesses) {
        self.cache.truncate(&mut guesses.kv, tokens.len() - 1);
    }

    /// A text is over: what was read of it is kept for others that begin like it.
    pub(crate) fn finish(&mut self, tokens: &[u32], guesses: &mut Guesses) {
        let n = guesses.kv.len().min(tokens.len());
        let variant = variant_of(guesses.kv.is_scaled());
        self.prefixes.insert(&mut self.cache, variant, &guesses.kv, &tokens[..n]);
        self.release(guesses);
    }

    /// Gives a text's pages back.
    pub(crate) fn release(&mut self, guesses: &mut Guesses) {
        self.cache.release(std::mem::take(&mut guesses.kv));
    }

    /// Forgets all texts that are not under way.
    pub(crate) fn forget(&mut self) {
        while self.prefixes.forget_one(&mut self.cache) {}
    }
}

/// Seconds that a model takes to read `rows` tokens at once and to work out what is wanted of
/// them: the better of two times, after one that warms up.
pub(crate) fn step_seconds(
    engine: &Engine,
    cache: &mut KvCache,
    work: &mut Workspace,
    rows: usize,
    want: Want,
) -> Result<f64, Error> {
    let model = engine.model();
    let tokens = vec![0; rows];
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        let mut sequence = Sequence::default();
        let started = Instant::now();
        let span = Span { sequence: &mut sequence, tokens: &tokens, want, adapter: None };
        let n = model.forward(cache, &mut [span], work)?;
        let mut logits = vec![0.0; n * model.vocab()];
        model.logits(work, 0..n, &mut logits);
        best = best.min(started.elapsed().as_secs_f64());
        cache.release(sequence);
    }
    Ok(best)
}

fn last(tokens: &[u32]) -> &u32 {
    tokens.last().unwrap_or(&0)
}
