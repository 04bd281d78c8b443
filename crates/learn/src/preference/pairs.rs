//! The pairs of a run: what of them is learned from, what is held out, which are next.

use std::path::PathBuf;

use engine::Engine;

use crate::Error;
use crate::chance::{hold_out, rounds};
use crate::data::{Preferred, read_pairs};
use crate::recipe::{Pairs as Settings, Recipe};

/// All pairs of a run.
pub(super) struct Pairs {
    seed: u64,
    batch: usize,
    size: usize,
    learned: Vec<Preferred>,
    pub(super) held_out: Vec<Preferred>,
}

impl Pairs {
    /// Reads them.
    ///
    /// # Errors
    /// A file can't be read or a line isn't understood, or there is nothing to learn from.
    pub(super) fn open(
        recipe: &Recipe,
        settings: &Settings,
        engine: &Engine,
    ) -> Result<Pairs, Error> {
        let longest = settings.max_tokens.min(engine.context_length());
        let mut left_out = 0;
        let mut all = |paths: &[PathBuf]| -> Result<Vec<Preferred>, Error> {
            let mut pairs = Vec::new();
            for pair in paths.iter().map(|path| read_pairs(engine, path)) {
                for pair in pair? {
                    match pair {
                        Some(pair) if pair.longest() <= longest => pairs.push(pair),
                        _ => left_out += 1,
                    }
                }
            }
            Ok(pairs)
        };
        let mut learned = all(&settings.data)?;
        let mut held_out = all(&settings.held_out)?;
        if left_out > 0 {
            tracing::warn!(
                "{left_out} pairs are left out: longer than {longest} tokens, or written otherwise \
                 by the model's template"
            );
        }
        if recipe.evaluate.every > 0 && settings.held_out.is_empty() {
            let wanted = recipe.evaluate.items.min(learned.len() / 10);
            (held_out, learned) = hold_out(recipe.seed, 0, learned, wanted);
        }
        held_out.truncate(recipe.evaluate.items);
        let too_few = |problem: &str| Error::Data {
            what: "pairs".to_owned(),
            problem: format!("{problem}; {left_out} were left out"),
        };
        if learned.is_empty() {
            return Err(too_few("there is none to learn from"));
        }
        if recipe.evaluate.every > 0 && held_out.is_empty() {
            return Err(too_few("there are too few to hold any out"));
        }
        let (seed, batch, size) = (recipe.seed, settings.batch, recipe.micro_batch_tokens);
        Ok(Pairs { seed, batch, size, learned, held_out })
    }

    /// The pairs of a step, in micro-batches.
    pub(super) fn step(&self, step: u64) -> Vec<Vec<&Preferred>> {
        let first = (step - 1) * self.batch as u64;
        let places = rounds(self.seed, "pairs", first, self.learned.len());
        let chosen = places.take(self.batch).map(|place| &self.learned[place]);
        self.split(chosen)
    }

    /// Micro-batches of pairs.
    pub(super) fn split<'a>(
        &self,
        pairs: impl Iterator<Item = &'a Preferred>,
    ) -> Vec<Vec<&'a Preferred>> {
        let mut batches: Vec<Vec<&Preferred>> = Vec::new();
        let mut room = 0;
        for pair in pairs {
            match batches.last_mut() {
                Some(batch) if pair.tokens() <= room => batch.push(pair),
                _ => {
                    batches.push(vec![pair]);
                    room = self.size;
                }
            }
            room = room.saturating_sub(pair.tokens());
        }
        batches
    }

    /// How often all pairs have been gone through after a step.
    pub(super) fn epoch(&self, step: u64) -> f64 {
        (step * self.batch as u64) as f64 / self.learned.len() as f64
    }
}
