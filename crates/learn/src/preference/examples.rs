//! The examples of a run: what of them is learned from, what is held out, which are next.

use std::path::{Path, PathBuf};

use engine::Engine;

use crate::Error;
use crate::chance::{hold_out_kinds, rounds};
use crate::data::{Answer, Preferred};
use crate::recipe::{Examples as Settings, Recipe};

/// What is learned from as a whole.
pub trait Example: Sized {
    /// What it is an answer to, or answers.
    fn prompt(&self) -> &[u32];
    /// Tokens that go through the network.
    fn tokens(&self) -> usize;
    /// Tokens of its longest text.
    fn longest(&self) -> usize;
}

impl Example for Preferred {
    fn prompt(&self) -> &[u32] {
        &self.prompt
    }

    fn tokens(&self) -> usize {
        self.prompt.len() + self.answers.chosen.len() + self.answers.rejected.len()
    }

    fn longest(&self) -> usize {
        self.prompt.len() + self.answers.chosen.len().max(self.answers.rejected.len())
    }
}

impl Example for Answer {
    fn prompt(&self) -> &[u32] {
        &self.prompt
    }

    fn tokens(&self) -> usize {
        self.prompt.len() + self.tokens.len()
    }

    fn longest(&self) -> usize {
        self.tokens()
    }
}

/// All examples of a run.
pub struct Examples<T> {
    seed: u64,
    batch: usize,
    size: usize,
    /// Most tokens of a text.
    pub(super) longest: usize,
    learned: Vec<T>,
    pub(super) held_out: Vec<T>,
}

impl<T: Example> Examples<T> {
    /// Reads them, each file by `read`, which gives None for one that can't be learned from: the
    /// template writes it otherwise than the model would have to.
    ///
    /// # Errors
    /// A file can't be read or a line isn't understood, or there is nothing to learn from.
    pub(super) fn open(
        recipe: &Recipe,
        settings: &Settings,
        engine: &Engine,
        read: impl Fn(&Engine, &Path) -> Result<Vec<Option<T>>, Error>,
    ) -> Result<Examples<T>, Error> {
        let longest = settings.max_tokens.min(engine.context_length());
        let mut left_out = 0;
        let mut all = |paths: &[PathBuf]| -> Result<Vec<T>, Error> {
            let mut examples = Vec::new();
            for file in paths.iter().map(|path| read(engine, path)) {
                for example in file? {
                    match example {
                        Some(example) if example.longest() <= longest => examples.push(example),
                        _ => left_out += 1,
                    }
                }
            }
            Ok(examples)
        };
        let mut learned = all(&settings.data)?;
        let mut held_out = all(&settings.held_out)?;
        if left_out > 0 {
            tracing::warn!(
                "{left_out} examples are left out: longer than {longest} tokens, or written otherwise \
                 by the model's template"
            );
        }
        if recipe.evaluate.every > 0 && settings.held_out.is_empty() {
            let wanted = recipe.evaluate.items.min(learned.len() / 10);
            // Of a prompt in several examples, none is learned from if one is measured with.
            let prompt = |example: &T| example.prompt().to_vec();
            (held_out, learned) = hold_out_kinds(recipe.seed, learned, wanted, prompt);
        }
        held_out.truncate(recipe.evaluate.items);
        let too_few = |problem: &str| Error::Data {
            what: "examples".to_owned(),
            problem: format!("{problem}; {left_out} were left out"),
        };
        if learned.is_empty() {
            return Err(too_few("there is none to learn from"));
        }
        if recipe.evaluate.every > 0 && held_out.is_empty() {
            return Err(too_few("there are too few to hold any out"));
        }
        let (seed, batch, size) = (recipe.seed, settings.batch, recipe.micro_batch_tokens);
        Ok(Examples { seed, batch, size, longest, learned, held_out })
    }

    /// Tokens of a step on average, and of all that is held out.
    pub(super) fn tokens(&self) -> (f64, f64) {
        let tokens = |all: &[T]| all.iter().map(Example::tokens).sum::<usize>() as f64;
        let mean = tokens(&self.learned) / self.learned.len() as f64;
        (self.batch as f64 * mean, tokens(&self.held_out))
    }

    /// The examples of a step, in micro-batches.
    pub(super) fn step(&self, step: u64) -> Vec<Vec<&T>> {
        let first = (step - 1) * self.batch as u64;
        let places = rounds(self.seed, "pairs", first, self.learned.len());
        let chosen = places.take(self.batch).map(|place| &self.learned[place]);
        self.split(chosen)
    }

    /// Micro-batches of examples.
    pub(super) fn split<'a>(&self, examples: impl Iterator<Item = &'a T>) -> Vec<Vec<&'a T>>
    where
        T: 'a,
    {
        let mut batches: Vec<Vec<&T>> = Vec::new();
        let mut room = 0;
        for example in examples {
            match batches.last_mut() {
                Some(batch) if example.tokens() <= room => batch.push(example),
                _ => {
                    batches.push(vec![example]);
                    room = self.size;
                }
            }
            room = room.saturating_sub(example.tokens());
        }
        batches
    }

    /// How often all examples have been gone through after a step.
    pub(super) fn epoch(&self, step: u64) -> f64 {
        (step * self.batch as u64) as f64 / self.learned.len() as f64
    }
}
