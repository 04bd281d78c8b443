//! Supervised fine-tuning: the assistant's tokens become more likely.

use engine::Engine;

use crate::Error;
use crate::chance::{hold_out_kinds, rounds};
use crate::cross_entropy::{learn, measure};
use crate::data::{Rendered, Text, read, render};
use crate::error::recipe;
use crate::journal::Record;
use crate::learner::Learner;
use crate::recipe::{self, Recipe};
use crate::run::{Measured, Teach, Watch, Work};

/// The method, with its examples.
pub struct Sft {
    recipe: Recipe,
    settings: recipe::Sft,
    examples: Vec<Text>,
    held_out: Vec<Text>,
    counts: Counts,
}

/// What became of the examples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Those that can be learned from.
    pub used: usize,
    /// Those that were longer than they may be.
    pub too_long: usize,
    /// Those whose assistant's turns the template doesn't write as the model would have to.
    pub otherwise_written: usize,
}

impl Sft {
    /// Reads all examples.
    ///
    /// # Errors
    /// A file can't be read or a line isn't understood, or there is nothing to learn from.
    pub fn new(recipe: &Recipe, engine: &Engine) -> Result<Sft, Error> {
        let Some(settings) = recipe.sft.clone() else {
            return Err(crate::error::recipe("sft", "is not there"));
        };
        let mut counts = Counts::default();
        let longest = settings.max_tokens.min(engine.context_length());
        let mut texts = |paths: &[std::path::PathBuf]| -> Result<Vec<Text>, Error> {
            let mut texts = Vec::new();
            for path in paths {
                for conversation in read(path)? {
                    match render(engine, &conversation, settings.thinking, settings.turns)? {
                        Rendered::Text(text) if text.tokens.len() > longest => counts.too_long += 1,
                        Rendered::Text(text) if text.counted() > 0 => texts.push(text),
                        _ => counts.otherwise_written += 1,
                    }
                }
            }
            Ok(texts)
        };
        let mut examples = texts(&settings.data)?;
        let mut held_out = texts(&settings.held_out)?;
        if recipe.evaluate.every > 0 {
            if settings.held_out.is_empty() {
                let wanted = recipe.evaluate.items.min(examples.len() / 10);
                let prompt = |text: &Text| text.prompt().to_vec();
                (held_out, examples) = hold_out_kinds(recipe.seed, examples, wanted, prompt);
            }
            held_out.truncate(recipe.evaluate.items);
            if held_out.is_empty() {
                let problem = "there are too few to hold any out; evaluate.every = 0 needs none";
                return Err(Error::Data {
                    what: "examples".to_owned(),
                    problem: problem.to_owned(),
                });
            }
        }
        counts.used = examples.len();
        if examples.is_empty() {
            let problem = format!(
                "none is left: {} are longer than {longest} tokens, {} are written otherwise by the \
                 template",
                counts.too_long, counts.otherwise_written
            );
            return Err(Error::Data { what: "examples".to_owned(), problem });
        }
        Ok(Sft { recipe: recipe.clone(), settings, examples, held_out, counts })
    }

    /// What became of the examples.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Tokens of the examples, and how many of them are learned.
    pub fn tokens(&self) -> (usize, usize) {
        let all = self.examples.iter();
        all.fold((0, 0), |(n, counted), text| (n + text.tokens.len(), counted + text.counted()))
    }

    /// The examples of a step: all of them in an order of its own for each round.
    fn batch(&self, step: u64) -> Vec<&Text> {
        let batch = self.settings.batch;
        let first = (step - 1) * batch as u64;
        let places = rounds(self.recipe.seed, "examples", first, self.examples.len());
        places.take(batch).map(|place| &self.examples[place]).collect()
    }
}

impl Teach for Sft {
    fn step(
        &mut self,
        learner: &mut Learner<'_>,
        step: u64,
        watch: &mut dyn Watch,
    ) -> Result<Option<Record>, Error> {
        let seen = step * self.settings.batch as u64;
        let at = (step, seen as f64 / self.examples.len() as f64);
        learn(&self.recipe, learner, at, &self.batch(step), watch)
    }

    fn evaluate(
        &mut self,
        learner: &Learner<'_>,
        watch: &mut dyn Watch,
    ) -> Result<Option<Measured>, Error> {
        let texts: Vec<&Text> = self.held_out.iter().collect();
        let scored = measure(&self.recipe, learner, &texts, watch);
        let scored = scored.map_err(|error| recipe("sft.held_out", error.to_string()))?;
        Ok(scored.map(|mut measured| {
            measured.record.put("held_out/items", texts.len() as f64);
            measured
        }))
    }

    fn work(&self) -> Work {
        let (tokens, _) = self.tokens();
        let held_out: usize = self.held_out.iter().map(|text| text.tokens.len()).sum();
        Work {
            learned: (self.settings.batch * tokens) as f64 / self.examples.len() as f64,
            read: 0.0,
            measured: held_out as f64,
            most: false,
        }
    }
}
