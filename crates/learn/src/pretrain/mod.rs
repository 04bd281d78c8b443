//! Training from nothing: a model that knows nothing yet learns to go on with texts.
//!
//! [`initial`] makes the model, [`learned_vocabulary`] its tokenizer where it isn't another model's; then all
//! weights learn from [`Sequences`] of documents.

mod initial;
mod sequences;

use engine::Engine;
use text::tokenizer::Special;

use crate::Error;
use crate::chance::rounds;
use crate::cross_entropy::{learn, measure};
use crate::data::Text;
use crate::data::documents::documents;
use crate::error::recipe;
use crate::journal::Record;
use crate::learner::Learner;
use crate::recipe::{self, ControlTokens, Recipe};
use crate::run::{Measured, Teach, Watch, Work};

pub use initial::{initial, learned_vocabulary};
pub use sequences::Sequences;

/// What models call the end of a text, where it isn't the end of a turn.
const ENDS_OF_TEXT: [&str; 3] = ["<|endoftext|>", "<|end_of_text|>", "<｜end▁of▁sentence｜>"];

/// The documents of a recipe: those that are learned, and those that are held out.
struct Documents {
    learned: Vec<String>,
    held_out: Vec<String>,
}

impl Documents {
    /// Reads all documents. Which are held out depends on nothing but their text: copies are on the same side, with
    /// any seed and any other data beside them.
    fn read(settings: &recipe::Pretrain) -> Result<Documents, Error> {
        let read = |paths: &[std::path::PathBuf]| -> Result<Vec<String>, Error> {
            let all = paths.iter().map(|path| documents(path));
            Ok(all.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
        };
        let (mut learned, mut held_out) = (read(&settings.data)?, read(&settings.held_out)?);
        if settings.held_out.is_empty() {
            let line = (settings.held_out_share * 2f64.powi(64)) as u64;
            (held_out, learned) =
                learned.into_iter().partition(|text| verify::tasks::random::hash(text) < line);
        }
        if learned.is_empty() {
            let problem = match held_out.len() {
                0 => "there is no document that isn't empty".to_owned(),
                n => format!("all {n} of them are held out; see pretrain.held_out_share"),
            };
            return Err(Error::Data { what: "pretrain.data".to_owned(), problem });
        }
        Ok(Documents { learned, held_out })
    }
}

/// The method, with its texts.
pub struct Pretrain {
    recipe: Recipe,
    settings: recipe::Pretrain,
    sequences: Sequences,
    held_out: Sequences,
}

impl Pretrain {
    /// Reads all documents.
    ///
    /// # Errors
    /// A file can't be read or a line isn't understood, there is nothing to learn from or to measure with, or the
    /// tokenizer has more tokens than the model.
    pub fn new(recipe: &Recipe, engine: &Engine) -> Result<Pretrain, Error> {
        let Some(settings) = recipe.pretrain.clone() else {
            return Err(crate::error::recipe("pretrain", "is not there"));
        };
        let tokenizer = engine.tokenizer();
        let (tokens, rows) = (tokenizer.vocab_size(), engine.model().vocab());
        if tokens > rows {
            let problem = format!(
                "has {tokens} tokens, and the model {rows} rows for them; remove the run folder's `start` to \
                 make the model anew"
            );
            return Err(crate::error::recipe("pretrain.tokenizer", problem));
        }
        let end = ENDS_OF_TEXT.iter().find_map(|text| tokenizer.token_id(text));
        let Some(end) = end.or(tokenizer.eos()) else {
            let problem = "has no token for the end of a text; take another model's, or learn one";
            return Err(crate::error::recipe("pretrain.tokenizer", problem));
        };
        let special = match settings.control_tokens {
            ControlTokens::Text => Special::Plain,
            ControlTokens::Parsed => Special::Parse,
        };
        let Documents { learned, held_out } = Documents::read(&settings)?;
        let sequences = |texts: Vec<String>| {
            let encode = |text: &str| tokenizer.encode(text, special);
            Sequences::pack(texts, recipe.seed, end, settings.sequence_tokens, encode)
        };
        let mut held_out = sequences(held_out);
        held_out.truncate(recipe.evaluate.items);
        if recipe.evaluate.every > 0 && held_out.is_empty() {
            let problem = "no document is held out; evaluate.every = 0 needs none, or name files in \
                           pretrain.held_out or more of a share";
            let what = "pretrain.held_out_share".to_owned();
            return Err(Error::Data { what, problem: problem.to_owned() });
        }
        let sequences = sequences(learned);
        Ok(Pretrain { recipe: recipe.clone(), settings, sequences, held_out })
    }

    /// What is learned.
    pub fn sequences(&self) -> &Sequences {
        &self.sequences
    }

    /// What is measured with.
    pub fn held_out(&self) -> &Sequences {
        &self.held_out
    }
}

impl Teach for Pretrain {
    fn step(
        &mut self,
        learner: &mut Learner<'_>,
        step: u64,
        watch: &mut dyn Watch,
    ) -> Result<Option<Record>, Error> {
        let (batch, n) = (self.settings.batch as u64, self.sequences.len());
        // All of them in an order of its own for each round.
        let places = rounds(self.recipe.seed, "sequences", (step - 1) * batch, n);
        let texts: Vec<Text> =
            places.take(self.settings.batch).flat_map(|i| self.sequences.texts(i)).collect();
        let at = (step, (step * batch) as f64 / n as f64);
        learn(&self.recipe, learner, at, &texts.iter().collect::<Vec<_>>(), watch)
    }

    fn evaluate(
        &mut self,
        learner: &Learner<'_>,
        watch: &mut dyn Watch,
    ) -> Result<Option<Measured>, Error> {
        let texts: Vec<Text> =
            (0..self.held_out.len()).flat_map(|i| self.held_out.texts(i)).collect();
        let scored = measure(&self.recipe, learner, &texts.iter().collect::<Vec<_>>(), watch);
        let scored = scored.map_err(|error| recipe("pretrain.held_out", error.to_string()))?;
        Ok(scored.map(|mut measured| {
            measured.record.put("held_out/sequences", self.held_out.len() as f64);
            measured
        }))
    }

    fn work(&self) -> Work {
        let mean = self.sequences.predicted() as f64 / self.sequences.len().max(1) as f64;
        Work {
            learned: self.settings.batch as f64 * mean,
            read: 0.0,
            measured: self.held_out.predicted() as f64,
            most: false,
        }
    }
}
