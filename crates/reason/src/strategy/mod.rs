//! Ways to buy accuracy with compute. Each is a small type of its own; [`Spec`] names them as data.

mod auto;
mod best_of;
mod program;
mod revise;
mod search;
mod single;
mod vote;

pub use auto::{Auto, Calibration, Observed, learn};
pub use best_of::BestOf;
pub use program::Program;
pub use revise::Revise;
pub use search::{By, Search};
pub use single::Single;
pub use vote::Vote;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::mind::Mind;
use crate::thought::Thought;
use crate::vote::Cluster;

/// What a strategy comes to.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// All thoughts it had.
    pub thoughts: Vec<Thought>,
    /// Which of them it stands by; an index into `thoughts`.
    pub chosen: Option<usize>,
    /// The votes, if there were any.
    pub vote: Vec<Cluster>,
    /// How sure it is, in `[0, 1]`, where it can say.
    pub confidence: Option<f64>,
    /// Why that thought, in one sentence.
    pub why: String,
    /// Tokens drawn in all, where that isn't the sum over the thoughts: they share beginnings, or some
    /// of them are not kept.
    pub drawn: Option<usize>,
}

/// Answers questions in some way.
pub trait Strategy: Send + Sync {
    /// Its name, as in [`Spec`].
    fn name(&self) -> &'static str;

    /// Answers. When the asker has gone, what there is by then.
    ///
    /// # Errors
    /// The model can't be asked, or not in this way.
    fn reason(&self, mind: &Mind<'_>) -> Result<Outcome, Error>;
}

/// A strategy, as data: `{"strategy": "vote", "n": 8}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "strategy", rename_all = "kebab-case")]
pub enum Spec {
    /// One thought.
    Single(Single),
    /// Several thoughts, and the answer most of them give.
    Vote(Vote),
    /// Several thoughts, and the one a verifier likes best.
    BestOf(BestOf),
    /// A draft, its flaws, a better one.
    Revise(Revise),
    /// Thoughts that write programs and read their output.
    Program(Program),
    /// Step by step, with the best few of several ways to go on.
    Search(Search),
    /// As much as the question seems to need.
    Auto(Auto),
}

impl Default for Spec {
    fn default() -> Spec {
        Spec::Single(Single {})
    }
}

impl Spec {
    /// All names.
    pub const NAMES: [&'static str; 7] =
        ["single", "vote", "best-of", "revise", "program", "search", "auto"];

    /// The strategy of this name, as it is by default.
    pub fn named(name: &str) -> Option<Spec> {
        serde_json::from_value(serde_json::json!({"strategy": name})).ok()
    }

    /// What does it.
    pub fn strategy(&self) -> &dyn Strategy {
        match self {
            Spec::Single(strategy) => strategy,
            Spec::Vote(strategy) => strategy,
            Spec::BestOf(strategy) => strategy,
            Spec::Revise(strategy) => strategy,
            Spec::Program(strategy) => strategy,
            Spec::Search(strategy) => strategy,
            Spec::Auto(strategy) => strategy,
        }
    }

    /// With so many thoughts, where it has several.
    ///
    /// # Errors
    /// [`Error::Setting`] if it is none of these.
    pub fn with_n(mut self, n: usize) -> Result<Spec, Error> {
        let name = self.strategy().name();
        match &mut self {
            Spec::Vote(strategy) => strategy.n = n,
            Spec::BestOf(strategy) => strategy.n = n,
            Spec::Program(strategy) => strategy.n = n,
            Spec::Auto(strategy) => strategy.most = n,
            Spec::Search(strategy) => strategy.width = n,
            Spec::Single(_) | Spec::Revise(_) => {
                return Err(Error::Setting(format!(
                    "n is for strategies with several thoughts, such as vote; {name} has one"
                )));
            }
        }
        Ok(self)
    }

    /// How many of its thoughts are under way at a time, at most.
    pub fn width(&self) -> usize {
        match self {
            Spec::Single(_) | Spec::Revise(_) => 1,
            Spec::Vote(vote) => vote.width(),
            Spec::BestOf(best) => best.n,
            Spec::Program(program) => program.n,
            Spec::Search(search) => search.width * search.expand,
            Spec::Auto(auto) => auto.width(),
        }
    }
}
