//! Step by step, with the best few of several ways to go on.

use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use super::vote::{decide, vote};
use super::{Outcome, Strategy};
use crate::Error;
use crate::mind::{Event, Mind};
use crate::thought::{Confidence, End, Halt, Stop, Thought, Writing, close, mix};
use crate::vote::{Ballot, Weight};

/// Most tokens of one step.
const STEP: usize = 192;

/// By what texts are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// By the mean log-probability of their tokens.
    #[default]
    Likelihood,
    /// By what the verifier says of the text so far: a reward for steps, or, of texts that have ended,
    /// for outcomes.
    Score,
}

/// Beam search over steps (Xie et al. 2023): a step is a paragraph. Each text in the beam goes on in
/// several ways, and the best texts are kept. Those that come to an end vote, weighted likewise.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Search {
    /// Texts that are kept.
    pub width: usize,
    /// Ways in which each goes on.
    pub expand: usize,
    /// Steps, at most.
    pub depth: usize,
    /// By what texts are chosen.
    pub by: By,
}

impl Default for Search {
    fn default() -> Search {
        Search { width: 3, expand: 3, depth: 24, by: By::Likelihood }
    }
}

/// One way to go on.
struct Branch<'a> {
    writing: Writing<'a>,
    number: usize,
    ended: Option<End>,
    /// Tokens drawn for its last step.
    drawn: usize,
    /// How good it is.
    score: f64,
}

impl Search {
    fn score(&self, mind: &Mind<'_>, writing: &Writing<'_>) -> f64 {
        match self.by {
            By::Likelihood => Confidence::of(&writing.sure()).map_or(0.0, |c| c.mean_logprob),
            By::Score => {
                let so_far = writing.record(mind.problem.kind, None, End::Ended);
                mind.score(&so_far).unwrap_or(0.0)
            }
        }
    }

    /// Lets a text go on by one step.
    fn step<'a>(
        &self,
        mind: &'a Mind<'a>,
        from: &Writing<'a>,
        number: usize,
    ) -> Result<Branch<'a>, Error> {
        let mut writing = from.clone();
        let most = mind.manner.max_thinking.unwrap_or(usize::MAX).saturating_sub(writing.tokens());
        let (begin, before) = (writing.text().len(), writing.drawn);
        let seed = mix(mind.seed, number as u64);
        mind.tell(Event::Begun { thought: number, about: format!("from {begin}") });
        let mut cancelled = false;
        let tells = self.by == By::Likelihood;
        let stop = writing.go_on(
            0..=most.min(STEP),
            &mind.manner.sampling,
            seed,
            tells,
            &mut |text, at| {
                if mind.is_cancelled() || mind.is_late() {
                    cancelled = true;
                    return Some(Halt::Here);
                }
                if at < text.len() {
                    mind.tell(Event::Text { thought: number, text: text[at..].to_owned() });
                }
                let said = text[begin..].trim_start().len();
                let start = text.len() - said;
                text[start..].find("\n\n").map(|at| Halt::After(start + at + 2))
            },
        )?;
        let ended = match stop {
            _ if cancelled && mind.is_cancelled() => Some(End::Cancelled),
            _ if cancelled => Some(End::Deadline),
            Stop::Ended => Some(End::Ended),
            Stop::Full if most <= STEP => Some(End::Budget),
            Stop::Full | Stop::Halted => None,
        };
        let drawn = writing.drawn - before;
        let score = self.score(mind, &writing);
        Ok(Branch { writing, number, ended, drawn, score })
    }
}

impl Strategy for Search {
    fn name(&self) -> &'static str {
        "search"
    }

    fn reason(&self, mind: &Mind<'_>) -> Result<Outcome, Error> {
        if self.by == By::Score && mind.problem.verifier.is_none() {
            return Err(Error::Setting("search by score needs a verifier".to_owned()));
        }
        if self.by == By::Likelihood && !mind.completer.tells_logprobs() {
            return Err(Error::Setting(
                "search needs to know how sure the model is of its tokens, which endpoints don't tell\n\
                 hint: use vote, search by a verifier's score, or a model on this machine"
                    .to_owned(),
            ));
        }
        let width = self.width.max(1);
        let writing = Writing::new(mind.completer, mind.ask())?;
        let mut beam = vec![Branch { writing, number: 0, ended: None, drawn: 0, score: 0.0 }];
        let mut done: Vec<Branch<'_>> = Vec::new();
        let mut drawn = 0;
        for _ in 0..self.depth.max(1) {
            let jobs: Vec<(usize, &Writing<'_>)> = beam
                .iter()
                .flat_map(|branch| (0..self.expand.max(1)).map(move |_| &branch.writing))
                .enumerate()
                .collect();
            let first = mind.numbers(jobs.len());
            let outcomes = Mutex::new(Vec::new());
            std::thread::scope(|scope| {
                for (at, writing) in jobs {
                    let outcomes = &outcomes;
                    scope.spawn(move || {
                        let outcome = self.step(mind, writing, first + at);
                        if let Ok(mut outcomes) = outcomes.lock() {
                            outcomes.push(outcome);
                        }
                    });
                }
            });
            let outcomes = outcomes.into_inner().unwrap_or_default();
            let mut branches = outcomes.into_iter().collect::<Result<Vec<_>, Error>>()?;
            branches.sort_by_key(|branch| branch.number);
            drawn += branches.iter().map(|branch| branch.drawn).sum::<usize>();
            // The same text twice is one.
            let mut texts = std::collections::HashSet::new();
            branches.retain(|branch| texts.insert(branch.writing.text().to_owned()));
            branches.sort_by(|a, b| b.score.total_cmp(&a.score));
            beam.clear();
            for branch in branches {
                match branch.ended {
                    Some(_) => done.push(branch),
                    None if beam.len() < width => beam.push(branch),
                    None => {}
                }
            }
            if beam.is_empty() || done.len() >= width * 2 || mind.is_cancelled() || mind.is_late() {
                break;
            }
        }
        let mut ballot = Ballot::default();
        let mut thoughts = Vec::new();
        // What came to no end by itself is made to answer, where nothing else did.
        if done.is_empty() {
            done = beam;
        }
        for Branch { writing, number, ended, .. } in done {
            let thought = match ended {
                None | Some(End::Budget | End::Deadline) => {
                    let seed = mix(mind.seed, number as u64);
                    let end = ended.unwrap_or(End::Budget);
                    let (thought, more) = close(mind, writing, number, seed, end)?;
                    drawn += more;
                    thought
                }
                Some(end) => writing.record(mind.problem.kind, None, end),
            };
            let mut thought = Thought { number, ..thought };
            let weight = match self.by {
                By::Likelihood => Weight::Likelihood,
                By::Score => {
                    thought.score = mind.score(&thought);
                    Weight::Score
                }
            };
            vote(mind, &mut ballot, &thought, weight);
            thoughts.push(thought);
        }
        mind.tell(Event::Vote { clusters: ballot.clusters(), sure: 1.0 });
        Ok(Outcome { drawn: Some(drawn), ..decide(thoughts, &ballot) })
    }
}
