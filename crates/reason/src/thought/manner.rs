//! How a thought is had: what it may cost, what is said to it, and when it is stopped.

use serde::{Deserialize, Serialize};

use crate::Sampling;

/// What a model is made to think before its thinking is closed at its limit.
pub const TIME_IS_UP: &str = "I have to answer now, with what I have found so far.";

/// What is put into a model's mouth.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Words {
    /// In place of the end of a thinking that was too short (Muennighoff et al. 2025, s1).
    pub wait: String,
    /// Before the end of a thinking that has used up its budget.
    pub close: String,
    /// Begins an answer that the model is made to give.
    pub lead: String,
}

impl Default for Words {
    fn default() -> Words {
        Words {
            wait: "Wait,".to_owned(),
            close: TIME_IS_UP.to_owned(),
            lead: "**Final answer:** \\boxed{".to_owned(),
        }
    }
}

/// When the model has settled: its answer, asked for at the ends of paragraphs on a branch of the
/// text, stays the same.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settle {
    /// Tokens between two probes, at least.
    pub every: usize,
    /// So many probes in a row must agree …
    pub agree: usize,
    /// … each with at least this probability.
    pub sure: f64,
}

impl Default for Settle {
    fn default() -> Settle {
        Settle { every: 96, agree: 3, sure: 0.9 }
    }
}

/// What ends or mends a thought before it ends itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Stopping {
    /// Stop when the model has settled.
    pub settle: Option<Settle>,
    /// Look for loops. The first is cut out and the text goes on hotter; at the second the thinking
    /// is closed.
    pub loops: bool,
    /// Look for paragraphs in another language than the question's. The first is written anew.
    pub language: bool,
}

impl Default for Stopping {
    fn default() -> Stopping {
        Stopping { settle: None, loops: true, language: true }
    }
}

/// How a thought is had.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Manner {
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Most tokens of the thinking; what a model without tags writes is thinking as long as it
    /// isn't made to answer.
    pub max_thinking: Option<usize>,
    /// Fewest tokens of the thinking …
    pub min_thinking: usize,
    /// … as far as that can be had by saying [`Words::wait`] so many times.
    pub waits: usize,
    /// Most tokens of the answer.
    pub max_answer: usize,
    /// What is put into the model's mouth.
    pub words: Words,
    /// What stops it.
    pub stopping: Stopping,
    /// How sure the model is of its tokens is of interest.
    pub confidence: bool,
    /// So many of the Python programs it writes are run, and their output written behind them.
    pub programs: usize,
}

impl Default for Manner {
    fn default() -> Manner {
        Manner {
            sampling: Sampling::default(),
            max_thinking: None,
            min_thinking: 0,
            waits: 2,
            max_answer: 1024,
            words: Words::default(),
            stopping: Stopping::default(),
            confidence: false,
            programs: 0,
        }
    }
}
