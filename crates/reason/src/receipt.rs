//! What an answer cost, and how it came about.

use std::time::Instant;

use serde::Serialize;

use crate::mind::Mind;
use crate::strategy::{Outcome, Strategy};
use crate::thought::Thought;
use crate::vote::Cluster;
use crate::{Error, thought};

/// What was spent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Usage {
    /// Tokens of the question, as it was put to the model first.
    pub prompt_tokens: usize,
    /// Tokens of all thinking.
    pub reasoning_tokens: usize,
    /// Tokens of all answers.
    pub answer_tokens: usize,
    /// Tokens that were drawn and are part of no text: probes, loops, what came after a stop.
    pub discarded_tokens: usize,
    /// All tokens that were drawn: those above, but for what was put there by this program.
    pub drawn_tokens: usize,
    /// Thoughts.
    pub thoughts: usize,
    /// Forward passes, where they can be counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forward_passes: Option<u64>,
    /// Floating-point operations for the drawn tokens, without attention, where the model is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flops: Option<f64>,
    /// Seconds.
    pub seconds: f64,
}

/// An answer and all about it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Receipt {
    /// How it was reached.
    pub strategy: &'static str,
    /// The final answer.
    pub answer: Option<String>,
    /// All that the chosen thought says.
    pub content: String,
    /// What it thought before, between its tags.
    pub reasoning: String,
    /// The chosen thought's number.
    pub chosen: Option<usize>,
    /// Why it was chosen.
    pub why: String,
    /// How sure the strategy is, in `[0, 1]`: the winner's share of the votes, the verifier's score, or
    /// the mean probability of the tokens.
    pub confidence: Option<f64>,
    /// What was spent.
    pub usage: Usage,
    /// The votes, if there were any.
    pub vote: Vec<Cluster>,
    /// All thoughts.
    pub thoughts: Vec<Thought>,
    /// Whether the asker has gone meanwhile.
    pub cancelled: bool,
}

/// Answers with a strategy, and keeps the account.
///
/// # Errors
/// As [`Strategy::reason`].
pub fn reason(strategy: &dyn Strategy, mind: &Mind<'_>) -> Result<Receipt, Error> {
    let started = Instant::now();
    let passes = mind.completer.passes();
    let Outcome { thoughts, chosen, vote, confidence, why, drawn } = strategy.reason(mind)?;
    let best = chosen.and_then(|at| thoughts.get(at));
    let sum = |of: fn(&thought::Tokens) -> usize| thoughts.iter().map(|t| of(&t.tokens)).sum();
    let (drawn, reasoning, answer, discarded): (usize, usize, usize, usize) = match drawn {
        None => (
            sum(thought::Tokens::drawn),
            sum(|tokens| tokens.thinking),
            sum(|tokens| tokens.answer),
            sum(|tokens| tokens.discarded),
        ),
        Some(drawn) => {
            let kept = best.map_or_else(Default::default, |thought| thought.tokens);
            let used = kept.drawn() - kept.discarded;
            (drawn, kept.thinking, kept.answer, drawn.saturating_sub(used))
        }
    };
    let usage = Usage {
        prompt_tokens: thoughts.first().map_or(0, |thought| thought.tokens.prompt),
        reasoning_tokens: reasoning,
        answer_tokens: answer,
        discarded_tokens: discarded,
        drawn_tokens: drawn,
        thoughts: thoughts.len(),
        forward_passes: mind.completer.passes().zip(passes).map(|(now, then)| now - then),
        flops: mind.completer.flops_per_token().map(|each| each * drawn as f64),
        seconds: started.elapsed().as_secs_f64(),
    };
    Ok(Receipt {
        strategy: strategy.name(),
        answer: best.and_then(|thought| thought.answer.clone()),
        content: best.map(|thought| thought.content.clone()).unwrap_or_default(),
        reasoning: best.map(|thought| thought.reasoning.clone()).unwrap_or_default(),
        chosen: best.map(|thought| thought.number),
        why,
        confidence,
        usage,
        vote,
        cancelled: mind.is_cancelled(),
        thoughts,
    })
}
