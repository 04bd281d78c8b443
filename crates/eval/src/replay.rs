//! Other rules, played through on thoughts that were had: what would fewer thoughts, another weight or
//! an earlier end of the vote have come to?
//!
//! A run of `ponder eval --strategy vote -n 16 --all-votes --confidence` has for each item sixteen
//! thoughts, with their answers, tokens and confidence; one of `ponder eval -k 16` has as many samples.
//! A replay is no substitute for a run where thoughts influence each other; for votes they don't.

use std::collections::BTreeMap;

use reason::answer::{Final, Kind};
use reason::strategy::Vote;
use reason::thought::Confidence;
use reason::vote::{Ballot, Weight};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use verify::Verdict;

use crate::run::Sample;
use crate::stats::{Interval, wilson};

/// A thought that was had.
#[derive(Clone, Debug, PartialEq)]
pub struct Had {
    /// Its answer.
    pub answer: Option<Final>,
    /// Whether that is right.
    pub right: bool,
    /// Tokens that were drawn for it.
    pub tokens: usize,
    /// How sure the model was, where it was asked.
    pub confidence: Option<Confidence>,
}

/// All thoughts on one item, in the order of their numbers.
pub type Item = Vec<Had>;

/// A rule for voting.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Rule {
    /// Thoughts, at most.
    pub n: usize,
    /// Ends when the leader stays ahead with this probability; all vote if none.
    pub sure: Option<f64>,
    /// Ends when half have voted and no answer has more than this share of the votes.
    pub give_up: Option<f64>,
    /// Thoughts under way at a time.
    pub at_a_time: usize,
    /// How votes are weighted.
    pub weight: Weight,
}

/// What a rule comes to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Played {
    /// The rule.
    pub rule: Rule,
    /// Items.
    pub items: usize,
    /// The share of them that is right; a tie counts for the answer that was first.
    pub right: f64,
    /// 95 % interval of that (Wilson).
    pub interval: Interval,
    /// Tokens drawn for an item, on average.
    pub tokens: f64,
    /// Thoughts that came to an end, on average.
    pub thoughts: f64,
}

/// The thoughts of a run, by item.
pub fn thoughts(samples: &[Sample]) -> BTreeMap<String, Item> {
    let mut items: BTreeMap<String, Item> = BTreeMap::new();
    let mut sorted: Vec<&Sample> = samples.iter().collect();
    sorted.sort_by_key(|sample| sample.index);
    for sample in sorted {
        let item = items.entry(sample.item.clone()).or_default();
        let had = sample.receipt.as_ref().and_then(|receipt| receipt["thoughts"].as_array());
        match had {
            Some(thoughts) => {
                let mut thoughts: Vec<&Value> = thoughts.iter().collect();
                thoughts.sort_by_key(|thought| thought["number"].as_u64());
                item.extend(thoughts.into_iter().map(of_receipt));
            }
            None => item.push(Had {
                answer: Final::find(&sample.answer, Kind::Final),
                right: sample.verdict.as_ref().is_some_and(Verdict::is_right),
                tokens: sample.completion_tokens,
                confidence: None,
            }),
        }
    }
    items
}

fn of_receipt(thought: &Value) -> Had {
    let count = |name: &str| thought["tokens"][name].as_u64().unwrap_or(0) as usize;
    let told = count("thinking") + count("answer");
    let answer = thought["answer"].as_str().map(|answer| format!("\\boxed{{{answer}}}"));
    Had {
        answer: answer.and_then(|text| Final::find(&text, Kind::Final)),
        right: thought["score"] == 1.0,
        tokens: told - count("put").min(told) + count("discarded"),
        confidence: Confidence::deserialize(&thought["confidence"]).ok(),
    }
}

impl Rule {
    /// The strategy that votes so, on `n` thoughts.
    fn vote(&self, n: usize) -> Vote {
        let Rule { weight, sure, give_up, .. } = *self;
        Vote { n, weight, sure, give_up, ..Vote::default() }
    }

    /// Whether the item comes out right, the tokens drawn, and the thoughts that came to an end. A
    /// token takes the same time in every thought, so that of those under way the one with fewest
    /// tokens left ends next; when the vote is over, the others have drawn as many since they began.
    fn on(&self, item: &Item) -> (bool, usize, usize) {
        let n = self.n.min(item.len());
        let vote = self.vote(n);
        let mut ballot = Ballot::default();
        let (mut next, mut clock, mut drawn, mut ended) = (0, 0, 0, 0);
        // (when it ends, when it began, which).
        let mut under_way: Vec<(usize, usize, usize)> = Vec::new();
        while ended < n {
            while under_way.len() < self.at_a_time.max(1) && next < n {
                under_way.push((clock + item[next].tokens, clock, next));
                next += 1;
            }
            let Some(at) = (0..under_way.len()).min_by_key(|&at| under_way[at]) else { break };
            let (end, _, which) = under_way.swap_remove(at);
            clock = end;
            ended += 1;
            drawn += item[which].tokens;
            if let Some(answer) = &item[which].answer {
                // What was right is not known to who votes: there is no score.
                let weight = vote.weight.of(item[which].confidence, None);
                ballot.cast(answer.clone(), weight, which);
            }
            if vote.is_over(&ballot, ended, || ballot.sure(n - ended)) {
                break;
            }
        }
        drawn += under_way.iter().map(|(_, began, _)| clock - began).sum::<usize>();
        let leader = ballot.clusters().into_iter().next();
        let right = leader.is_some_and(|leader| item[leader.thoughts[0]].right);
        (right, drawn, ended)
    }

    /// Plays it through on all items.
    pub fn play<'a>(&self, items: impl IntoIterator<Item = &'a Item>) -> Option<Played> {
        let outcomes: Vec<(bool, usize, usize)> =
            items.into_iter().map(|item| self.on(item)).collect();
        let count = outcomes.len();
        let right = outcomes.iter().filter(|(right, ..)| *right).count();
        let mean = |of: fn(&(bool, usize, usize)) -> usize| {
            outcomes.iter().map(of).sum::<usize>() as f64 / count as f64
        };
        Some(Played {
            rule: *self,
            items: count,
            right: right as f64 / count as f64,
            interval: wilson(right, count)?,
            tokens: mean(|(_, tokens, _)| *tokens),
            thoughts: mean(|(.., thoughts)| *thoughts),
        })
    }
}

/// Rules worth looking at, where there are `n` thoughts of each item: fewer of them, ends of the vote,
/// and weights where confidence is known.
pub fn rules(n: usize, confidence: bool) -> Vec<Rule> {
    let all = |n| Rule { n, sure: None, give_up: None, at_a_time: n, weight: Weight::Count };
    let sizes = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64].into_iter().filter(|size| *size < n);
    let mut rules: Vec<Rule> = sizes.map(all).collect();
    rules.push(all(n));
    for sure in [0.8, 0.9, 0.95, 0.99, 1.0] {
        rules.push(Rule { sure: Some(sure), at_a_time: 4, ..all(n) });
    }
    for sure in [0.8, 0.9, 0.95] {
        rules.push(Rule { sure: Some(sure), give_up: Some(0.25), at_a_time: 4, ..all(n) });
    }
    if confidence {
        for weight in [Weight::Likelihood, Weight::Tail] {
            rules.push(Rule { weight, ..all(n) });
        }
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    fn had(answer: &str, tokens: usize) -> Had {
        Had {
            answer: Final::find(&format!("\\boxed{{{answer}}}"), Kind::Final),
            right: answer == "4",
            tokens,
            confidence: None,
        }
    }

    #[test]
    fn the_first_to_end_vote_first() {
        let item = vec![had("4", 100), had("5", 10), had("4", 20), had("4", 30), had("7", 500)];
        let all = Rule { n: 5, sure: None, give_up: None, at_a_time: 5, weight: Weight::Count };
        assert_eq!(all.on(&item), (true, 660, 5));
        // One after another, three of five that agree can't be overtaken.
        let early = Rule { sure: Some(1.0), at_a_time: 1, ..all };
        assert_eq!(early.on(&item), (true, 160, 4));
        // At once: 5, 4, 4, then 4 again at 100, where the last has drawn 100.
        let at_once = Rule { at_a_time: 5, ..early };
        assert_eq!(at_once.on(&item), (true, 100 + 10 + 20 + 30 + 100, 4));
        let one = Rule { n: 1, ..all };
        assert_eq!(one.play([&item, &item]).unwrap().tokens, 100.0);
        assert!(one.play([]).is_none());
    }

    #[test]
    fn samples_and_receipts_are_read() {
        let thought = serde_json::json!({
            "number": 0, "answer": "4", "score": 1.0,
            "tokens": {"thinking": 10, "answer": 5, "put": 3, "discarded": 2},
            "confidence": {"mean_logprob": -0.5, "mean": 11.0, "tail": 9.0, "lowest": 8.0},
        });
        let read = of_receipt(&thought);
        assert_eq!((read.right, read.tokens), (true, 14));
        assert_eq!(read.confidence.map(|c| c.tail), Some(9.0));
        assert_eq!(read.answer.unwrap().text(), "4");
    }
}
