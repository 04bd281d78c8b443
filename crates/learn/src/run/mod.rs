//! A run from its first step to its last, whatever the method: measured on the way, kept on disk,
//! and gone on with where it was left.

mod folder;
mod work;

use std::path::Path;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Error;
use crate::journal::Record;
use crate::learner::Learner;
use crate::recipe::Recipe;

pub use folder::Folder;
pub use work::Work;

/// Who looks on, and may stop it.
pub trait Watch {
    /// A step is done, or a measurement.
    fn record(&mut self, record: &Record);
    /// Something is to be told.
    fn note(&mut self, text: &str);
    /// How far a part of a step has come.
    fn phase(&mut self, what: &str, done: usize, total: usize);
    /// Whether it is to end now.
    fn stopped(&self) -> bool;
}

/// What is done in a step: the method.
pub trait Teach {
    /// Takes step `step`, counted from 1. None if it was stopped: the weights are as they were
    /// before it then.
    ///
    /// # Errors
    /// The step can't be taken.
    fn step(
        &mut self,
        learner: &mut Learner<'_>,
        step: u64,
        watch: &mut dyn Watch,
    ) -> Result<Option<Record>, Error>;

    /// Measures the model on what it never learns from. None if it was stopped.
    ///
    /// # Errors
    /// It can't be measured.
    fn evaluate(
        &mut self,
        learner: &Learner<'_>,
        watch: &mut dyn Watch,
    ) -> Result<Option<Measured>, Error>;

    /// How much it has to do.
    fn work(&self) -> Work;

    /// What a checkpoint has to keep of it.
    fn state(&self) -> Value {
        Value::Null
    }

    /// Takes back what [`Teach::state`] gave.
    ///
    /// # Errors
    /// It is something else.
    fn restore(&mut self, _state: Value) -> Result<(), serde_json::Error> {
        Ok(())
    }

    /// Writes what else a checkpoint has to keep of it, as files in its folder `dir`.
    ///
    /// # Errors
    /// It can't be written.
    fn save(&self, _dir: &Path) -> Result<(), Error> {
        Ok(())
    }

    /// Takes back what [`Teach::save`] wrote.
    ///
    /// # Errors
    /// It can't be read, or is something else.
    fn load(&mut self, _dir: &Path) -> Result<(), Error> {
        Ok(())
    }
}

/// How good a model is.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// The figures.
    pub record: Record,
    /// The higher, the better: by this the best checkpoint is chosen.
    pub score: f64,
}

/// The best model so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// After which step.
    pub step: u64,
    /// Its [`Measured::score`].
    pub score: f64,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Steps taken, those of earlier sittings included.
    pub steps: u64,
    /// Whether all are.
    pub finished: bool,
    /// The best of the models that were measured.
    pub best: Option<Best>,
    /// Seconds, those of earlier sittings included.
    pub seconds: f64,
}

/// What a checkpoint keeps beside the numbers.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    step: u64,
    /// After which step it was last measured.
    measured: Option<u64>,
    best: Option<Best>,
    seconds: f64,
    method: Value,
}

/// Runs a recipe to its end, or until `watch` stops it; a run folder that is there already is gone on
/// with.
///
/// # Errors
/// The folder is another recipe's or can't be written, or a step fails. What is on disk stays.
pub fn run(
    recipe: &Recipe,
    learner: &mut Learner<'_>,
    method: &mut dyn Teach,
    watch: &mut dyn Watch,
) -> Result<Outcome, Error> {
    let folder = Folder::open(recipe)?;
    let started = Instant::now();
    let mut state = match folder.latest()? {
        Some(step) => {
            let state: State = folder.restore(step, learner)?;
            let kept = method.restore(state.method.clone());
            kept.map_err(|error| folder.broken(step, error.to_string()))?;
            method.load(&folder.checkpoint(step))?;
            watch.note(&format!("goes on after step {step}"));
            state
        }
        None => State::default(),
    };
    let before = state.seconds;
    let mut saved = folder.latest()?;
    let mut journal = folder.journal(saved)?;
    let finished = loop {
        let (step, last) = (state.step, state.step >= recipe.steps);
        if is_due(recipe.evaluate.every, step, last) && state.measured != Some(step) {
            let Some(mut measured) = method.evaluate(learner, watch)? else { break false };
            measured.record.step = step;
            journal.write(&measured.record)?;
            watch.record(&measured.record);
            state.measured = Some(step);
            if state.best.is_none_or(|best| measured.score > best.score) {
                state.best = Some(Best { step, score: measured.score });
                folder.keep_best(learner)?;
            }
        }
        if is_due(recipe.checkpoints.every, step, last) && saved != Some(step) {
            state.seconds = before + started.elapsed().as_secs_f64();
            state.method = method.state();
            folder.save(step, learner, (&state, method), recipe.checkpoints.keep)?;
            saved = Some(step);
        }
        if last {
            break true;
        }
        let Some(mut record) = method.step(learner, step + 1, watch)? else { break false };
        state.step += 1;
        record.step = state.step;
        journal.write(&record)?;
        watch.record(&record);
    };
    state.seconds = before + started.elapsed().as_secs_f64();
    if saved != Some(state.step) {
        state.method = method.state();
        folder.save(state.step, learner, (&state, method), recipe.checkpoints.keep)?;
    }
    let State { step, best, seconds, .. } = state;
    Ok(Outcome { steps: step, finished, best, seconds })
}

/// What is done every so many steps is done before the first and after the last too; 0 is never.
fn is_due(every: u64, step: u64, last: bool) -> bool {
    every > 0 && (last || step.is_multiple_of(every))
}
