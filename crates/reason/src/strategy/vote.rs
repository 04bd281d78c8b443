//! Several thoughts, and the answer most of them give.

use engine::Flow;
use serde::{Deserialize, Serialize};

use super::{Outcome, Strategy};
use crate::Error;
use crate::answer::Final;
use crate::mind::{Event, Mind, Plan};
use crate::thought::Thought;
use crate::vote::{Ballot, Weight};

/// Thoughts under way at a time where sampling stops as soon as it may.
const AT_A_TIME: usize = 4;

/// Self-consistency (Wang et al. 2022): several thoughts on the same question, forked from one prompt;
/// equal answers are one candidate, and the one with most votes wins.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Vote {
    /// Thoughts, at most.
    pub n: usize,
    /// How much each vote counts.
    pub weight: Weight,
    /// Stop when the leader stays the leader with at least this probability, had all `n` voted; with
    /// 1, only when it can't be overtaken. All vote if none. (The idea is that of Aggarwal et al. 2023,
    /// adaptive consistency; the rule is [`crate::vote::stays_ahead`].)
    pub sure: Option<f64>,
    /// Stop when half of the `n` have voted and no answer has more than this share of the votes: a
    /// question on which a model's answers scatter is one that more of them seldom settle. None: never.
    pub give_up: Option<f64>,
    /// Give up thoughts that are less sure than nearly all of the first ones were at their worst
    /// (Fu et al. 2025, DeepConf).
    pub drop_weak: bool,
}

impl Default for Vote {
    fn default() -> Vote {
        Vote { n: 8, weight: Weight::Count, sure: Some(0.9), give_up: None, drop_weak: false }
    }
}

impl Vote {
    pub(super) fn width(&self) -> usize {
        match self.sure.or(self.give_up) {
            Some(_) => self.n.min(AT_A_TIME),
            None => self.n,
        }
    }

    /// Whether the vote is over with `ended` of the thoughts, though not all have voted. `sure` works
    /// out [`Ballot::sure`], where it is of interest.
    pub fn is_over(&self, ballot: &Ballot, ended: usize, sure: impl FnOnce() -> f64) -> bool {
        let scattered = |most| 2 * ended >= self.n && ballot.leading() <= most * ended as f64;
        ended < self.n
            && (self.give_up.is_some_and(scattered)
                || self.sure.is_some_and(|wanted| sure() >= wanted))
    }

    fn check(&self, mind: &Mind<'_>) -> Result<(), Error> {
        let setting = |why: &str| Err(Error::Setting(why.to_owned()));
        if self.n == 0 {
            return setting("n: at least one thought is wanted");
        }
        if self.sure.is_some_and(|sure| !(0.0..=1.0).contains(&sure)) {
            return setting("sure: a probability is wanted, from 0 to 1");
        }
        if self.give_up.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
            return setting("give_up: a share is wanted, from 0 to 1");
        }
        if (self.weight.needs_logprobs() || self.drop_weak) && !mind.completer.tells_logprobs() {
            return setting(
                "weight, drop_weak: the endpoint doesn't tell how sure it is of its tokens\n\
                 hint: count votes, or use a model on this machine",
            );
        }
        if self.weight == Weight::Score && mind.problem.verifier.is_none() {
            return setting("weight: a vote by score needs a verifier");
        }
        Ok(())
    }

    /// Has the votes cast. `plan` makes one of the thoughts.
    pub(super) fn cast(&self, mind: &Mind<'_>, plan: &dyn Fn() -> Plan) -> Result<Outcome, Error> {
        self.check(mind)?;
        let plans = (0..self.n)
            .map(|_| {
                let mut plan = plan();
                plan.manner.confidence |= self.weight.needs_logprobs() || self.drop_weak;
                plan
            })
            .collect();
        let mut ballot = Ballot::default();
        let mut over = 0;
        let mut worst: Vec<f64> = Vec::new();
        let warm_up = (self.n / 4).max(2);
        let thoughts = mind.think_all(plans, self.width(), &mut |thought| {
            over += 1;
            if self.weight == Weight::Score {
                thought.score = mind.score(thought);
            }
            vote(mind, &mut ballot, thought, self.weight);
            if self.drop_weak {
                worst.extend(thought.confidence.map(|c| c.lowest));
                if worst.len() == warm_up {
                    mind.set_floor(tenth(&worst));
                }
            }
            let sure = ballot.sure(self.n - over);
            mind.tell(Event::Vote { clusters: ballot.clusters(), sure });
            if self.is_over(&ballot, over, || sure) { Flow::Stop } else { Flow::Continue }
        })?;
        mind.set_floor(f64::NAN);
        Ok(decide(thoughts, &ballot))
    }
}

/// Casts a thought's vote, if it has an answer.
pub(super) fn vote(mind: &Mind<'_>, ballot: &mut Ballot, thought: &Thought, weight: Weight) {
    let answer = thought.answer.as_ref();
    if answer.is_some()
        && let Some(answer) = Final::find(&thought.content, mind.problem.kind)
    {
        let weight = weight.of(thought.confidence, thought.score);
        ballot.cast(answer, weight, thought.number);
    }
}

/// The thought that stands for the leader: of those that give its answer, the one the model was surest
/// of, or the first.
pub(super) fn decide(thoughts: Vec<Thought>, ballot: &Ballot) -> Outcome {
    let clusters = ballot.clusters();
    let total: f64 = clusters.iter().map(|cluster| cluster.weight).sum();
    let Some(leader) = clusters.first() else {
        let chosen = (!thoughts.is_empty()).then_some(0);
        let why = "no thought came to an answer".to_owned();
        return Outcome { thoughts, chosen, why, ..Outcome::default() };
    };
    let surety = |thought: &Thought| thought.confidence.map_or(0.0, |c| c.mean_logprob);
    let chosen = thoughts
        .iter()
        .enumerate()
        .filter(|(_, thought)| leader.thoughts.contains(&thought.number))
        // Of equals, the first.
        .max_by(|(i, a), (j, b)| surety(a).total_cmp(&surety(b)).then(j.cmp(i)))
        .map(|(at, _)| at);
    let share = leader.weight / total.max(f64::MIN_POSITIVE);
    let why = format!("{} of {} votes", leader.thoughts.len(), ballot.votes());
    Outcome { thoughts, chosen, vote: clusters, confidence: Some(share), why, drawn: None }
}

/// A tenth of the numbers are below this.
fn tenth(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 10]
}

impl Strategy for Vote {
    fn name(&self) -> &'static str {
        "vote"
    }

    fn reason(&self, mind: &Mind<'_>) -> Result<Outcome, Error> {
        self.cast(mind, &|| mind.plan())
    }
}
