//! What is kept of a thought.

use serde::Serialize;

use super::Confidence;

/// Why a thought is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The model ended it.
    Ended,
    /// Its budget, or the context, was used up: it was closed, and the answer given.
    Budget,
    /// The model had settled: it was closed, and the answer given.
    Settled,
    /// It went in circles: it was closed, and the answer given.
    Loop,
    /// The time was up: it was closed, and the answer given.
    Deadline,
    /// The answer was cut off at its limit.
    Length,
    /// It was too unsure to be gone on with: there is no answer.
    Weak,
    /// It was given up, since its answer could no longer matter.
    Unwanted,
    /// It was given up, since the asker has gone.
    Cancelled,
}

/// What kind of step was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// A thinking that was too short was made to go on.
    Wait,
    /// A loop was found.
    Loop,
    /// A paragraph was in another language.
    Language,
    /// The model had settled.
    Settled,
    /// It was too unsure.
    Weak,
    /// The time was up.
    Deadline,
    /// The context was full.
    Full,
    /// A program was run.
    Program,
}

/// A step that was taken while the model wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// After so many tokens.
    pub at: usize,
    /// What kind.
    pub measure: Measure,
    /// What was found, and done.
    pub note: String,
}

/// Token counts of one thought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tokens {
    /// Of the prompt.
    pub prompt: usize,
    /// Of the thinking. A model without tags thinks up to its last paragraph, or up to where it is
    /// made to answer.
    pub thinking: usize,
    /// Of the answer.
    pub answer: usize,
    /// Those of thinking and answer that were put there, not drawn.
    pub put: usize,
    /// Drawn, and not part of the text: probes, what was cut out, what came after a stop.
    pub discarded: usize,
}

impl Tokens {
    /// All that were drawn.
    pub fn drawn(&self) -> usize {
        self.thinking + self.answer + self.discarded - self.put.min(self.thinking + self.answer)
    }
}

/// One thought: a text from the question to an answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Thought {
    /// Its number, from 0.
    pub number: usize,
    /// Its seed.
    pub seed: u64,
    /// What stands between its tags.
    pub reasoning: String,
    /// What it says.
    pub content: String,
    /// The final answer in it.
    pub answer: Option<String>,
    /// Why it is over.
    pub end: End,
    /// Token counts.
    pub tokens: Tokens,
    /// How sure the model was, where it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<Confidence>,
    /// What a verifier says of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// Steps taken while it was written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
    /// Seconds from its beginning to its end.
    pub seconds: f64,
}
