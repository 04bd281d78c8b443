//! Is this answer right?
//!
//! In goes an [`Attempt`], what a model wrote; out comes a [`Verdict`], how right that is and why.
//! Every [`Verifier`] is made for one task, with that task's gold answer, tests or rules in it, and
//! can then judge any number of attempts from any number of threads. The same verifiers score
//! benchmarks, choose between parallel thoughts and reward training.
//!
//! This crate knows nothing of models, tokens or files of weights.
#![forbid(unsafe_code)]

pub mod check;
pub mod external;
pub mod instructions;
pub mod math;
pub mod pattern;
pub mod program;
pub mod puzzles;
pub mod tasks;

use serde::{Deserialize, Serialize};

/// What a model wrote for one task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempt<'a> {
    /// The question as it was put to the model; empty where only the answer is known.
    pub question: &'a str,
    /// What it thought before it answered; empty for a model that doesn't think apart.
    pub reasoning: &'a str,
    /// What it answered: everything after the thinking.
    pub answer: &'a str,
}

impl<'a> Attempt<'a> {
    /// An answer without its question.
    pub fn of(answer: &'a str) -> Self {
        Self { answer, ..Self::default() }
    }
}

/// How right an attempt is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The share of credit earned, in `[0, 1]`; 1 is right.
    pub score: f64,
    /// What was taken out of the answer to be judged; `None` if nothing was found.
    pub extracted: Option<String>,
    /// Why it was judged so, in one sentence.
    pub why: String,
}

impl Verdict {
    /// Full credit.
    pub fn right(extracted: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(1.0, Some(extracted.into()), why)
    }

    /// No credit.
    pub fn wrong(extracted: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(0.0, Some(extracted.into()), why)
    }

    /// No credit, because the answer holds nothing that could be judged.
    pub fn missing(why: impl Into<String>) -> Self {
        Self::new(0.0, None, why)
    }

    /// A verdict with its score brought into `[0, 1]`; NaN counts as 0.
    pub fn new(score: f64, extracted: Option<String>, why: impl Into<String>) -> Self {
        Self {
            score: if score.is_nan() { 0.0 } else { score.clamp(0.0, 1.0) },
            extracted,
            why: why.into(),
        }
    }

    /// Whether the attempt earned full credit.
    pub fn is_right(&self) -> bool {
        self.score >= 1.0
    }
}

/// Why an attempt could not be judged. This is never the answer's fault: an answer that holds
/// nothing is [`Verdict::missing`].
#[derive(Clone, Debug, thiserror::Error, PartialEq)]
pub enum CannotTell {
    /// The task itself is not what the verifier needs: an unreadable gold answer, a schema that is none.
    #[error("{field}: {why}")]
    Task {
        /// The field of the task at fault.
        field: &'static str,
        /// What is wrong with it, and what to do.
        why: String,
    },
    /// The question could not be settled within the verifier's own limits of time or size.
    #[error("not settled within {limit}: {why}")]
    Limit {
        /// The limit that was reached, with its value.
        limit: String,
        /// What was being done.
        why: String,
    },
    /// This machine can't do what judging takes: no interpreter, no isolation, a command that failed.
    #[error("{what}: {why}")]
    Machine {
        /// What is missing.
        what: String,
        /// Why, and what to do.
        why: String,
    },
}

/// Judges attempts at one task.
pub trait Verifier: Send + Sync {
    /// How right this attempt is.
    ///
    /// # Errors
    /// [`CannotTell`] if that can't be decided here, whatever the answer.
    fn verify(&self, attempt: &Attempt<'_>) -> Result<Verdict, CannotTell>;
}
