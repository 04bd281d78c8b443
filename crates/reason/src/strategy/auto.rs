//! As much as the question seems to need.

use engine::Flow;
use serde::{Deserialize, Serialize};

use super::vote::{decide, vote};
use super::{Outcome, Strategy};
use crate::Error;
use crate::answer::Final;
use crate::mind::{Event, Mind};
use crate::vote::{Ballot, Weight};

/// The first thoughts, by whose agreement a question's difficulty is judged.
const FIRST: usize = 3;
/// Numbers of thoughts among which a policy chooses.
const CHOICES: [usize; 6] = [3, 5, 8, 12, 16, 24];

/// What has been learnt about one model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Whose it is.
    pub model: String,
    /// Thoughts in all, where 1, 2 or 3 of the first three agree.
    pub thoughts: [usize; FIRST],
    /// Longer thinkings are hardly ever right.
    pub max_thinking: Option<usize>,
    /// What it was learnt from.
    pub items: usize,
    /// The accuracy expected at each number of thoughts, for each agreement, for those who want to see.
    #[serde(default)]
    pub expected: Vec<Vec<(usize, f64)>>,
}

/// The first three thoughts are had at once. Where they agree the question is easy, and that is the
/// answer; where they don't, more are had, as many as the calibration says are worth it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auto {
    /// Thoughts, at most.
    pub most: usize,
    /// What is known of the model, by `ponder reason tune`.
    pub calibration: Option<Calibration>,
}

impl Default for Auto {
    fn default() -> Auto {
        Auto { most: 16, calibration: None }
    }
}

impl Auto {
    pub(super) fn width(&self) -> usize {
        self.most.clamp(1, 4)
    }

    /// Thoughts in all, where so many of the first agree.
    fn budget(&self, agree: usize) -> usize {
        let known = self.calibration.as_ref().map(|calibration| calibration.thoughts);
        let all = known.unwrap_or([16, 8, FIRST]);
        all[agree.clamp(1, FIRST) - 1].min(self.most)
    }
}

impl Strategy for Auto {
    fn name(&self) -> &'static str {
        "auto"
    }

    fn reason(&self, mind: &Mind<'_>) -> Result<Outcome, Error> {
        let plan = || {
            let mut plan = mind.plan();
            let known = self.calibration.as_ref().and_then(|calibration| calibration.max_thinking);
            plan.manner.max_thinking = plan.manner.max_thinking.or(known);
            plan
        };
        let mut ballot = Ballot::default();
        let first = FIRST.min(self.most.max(1));
        let plans = (0..first).map(|_| plan()).collect();
        let mut thoughts = mind.think_all(plans, first, &mut |thought| {
            vote(mind, &mut ballot, thought, Weight::Count);
            mind.tell(Event::Vote { clusters: ballot.clusters(), sure: 0.0 });
            Flow::Continue
        })?;
        let agree = ballot.clusters().first().map_or(0, |leader| leader.thoughts.len());
        let budget = self.budget(agree);
        let more = budget.saturating_sub(first);
        if more > 0 && !mind.is_cancelled() && !mind.is_late() {
            let note = format!("{agree} of {first} agree: up to {more} more thoughts");
            mind.tell(Event::Note(note));
            let plans = (0..more).map(|_| plan()).collect();
            let mut left = more;
            let rest = mind.think_all(plans, self.width(), &mut |thought| {
                left -= 1;
                vote(mind, &mut ballot, thought, Weight::Count);
                let sure = ballot.sure(left);
                mind.tell(Event::Vote { clusters: ballot.clusters(), sure });
                if sure >= 0.95 && left > 0 { Flow::Stop } else { Flow::Continue }
            })?;
            thoughts.extend(rest);
        }
        let mut outcome = decide(thoughts, &ballot);
        outcome.why = format!("{}; {agree} of the first {first} agreed", outcome.why);
        Ok(outcome)
    }
}

/// What a run saw of one item: for each sample its answer, whether that was right, and the tokens it
/// took.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The answers.
    pub answers: Vec<Option<Final>>,
    /// Which of them were right.
    pub right: Vec<bool>,
    /// Tokens of each.
    pub tokens: Vec<usize>,
}

/// Learns a policy from a run with several samples an item: for each agreement of three samples, the
/// fewest thoughts that come within `within` of the best accuracy to be had.
///
/// # Errors
/// [`Error::Setting`] if the run has fewer than six samples of each item, or no item.
pub fn learn(model: &str, items: &[Observed], within: f64) -> Result<Calibration, Error> {
    let samples = items.iter().map(|item| item.answers.len()).min().unwrap_or(0);
    if samples < 2 * FIRST {
        return Err(Error::Setting(format!(
            "the run has {samples} samples of an item; at least {} are needed, as from `ponder eval -k 16`",
            2 * FIRST
        )));
    }
    let choices: Vec<usize> = CHOICES.iter().copied().filter(|n| *n <= samples).collect();
    // (right, cases) for each agreement and number of thoughts.
    let mut seen = vec![vec![(0.0, 0.0); choices.len()]; FIRST];
    for item in items {
        // Each sample gets to be the first once.
        for turn in 0..samples {
            let order: Vec<usize> = (0..samples).map(|i| (i + turn) % samples).collect();
            let leader = |n: usize| {
                let mut ballot = Ballot::default();
                for &i in &order[..n] {
                    if let Some(answer) = &item.answers[i] {
                        ballot.cast(answer.clone(), 1.0, i);
                    }
                }
                ballot.clusters().into_iter().next()
            };
            let agree = leader(FIRST).map_or(0, |cluster| cluster.thoughts.len());
            for (to, n) in seen[agree.max(1) - 1].iter_mut().zip(&choices) {
                let right = leader(*n).is_some_and(|cluster| item.right[cluster.thoughts[0]]);
                to.0 += f64::from(u8::from(right));
                to.1 += 1.0;
            }
        }
    }
    let mut thoughts = [FIRST; FIRST];
    let mut expected = Vec::new();
    for (to, seen) in thoughts.iter_mut().zip(&seen) {
        let accuracy: Vec<(usize, f64)> = choices
            .iter()
            .zip(seen)
            .map(|(n, (right, cases))| (*n, if *cases > 0.0 { right / cases } else { 0.0 }))
            .collect();
        let best = accuracy.iter().map(|(_, a)| *a).fold(0.0, f64::max);
        *to = accuracy.iter().find(|(_, a)| *a >= best - within).map_or(FIRST, |(n, _)| *n);
        expected.push(accuracy);
    }
    let mut lengths: Vec<usize> = items
        .iter()
        .flat_map(|item| item.tokens.iter().zip(&item.right))
        .filter(|(_, right)| **right)
        .map(|(tokens, _)| *tokens)
        .collect();
    lengths.sort_unstable();
    // Nearly all that were right were shorter than this, by a quarter.
    let max_thinking = lengths.get(lengths.len() * 99 / 100).map(|n| (n * 5 / 4).max(64));
    Ok(Calibration {
        model: model.to_owned(),
        thoughts,
        max_thinking,
        items: items.len(),
        expected,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Kind;

    fn item(answers: &[&str], right: &str) -> Observed {
        Observed {
            answers: answers.iter().map(|a| Final::find(a, Kind::Final)).collect(),
            right: answers.iter().map(|a| *a == right).collect(),
            tokens: vec![100; answers.len()],
        }
    }

    #[test]
    fn more_thoughts_only_where_they_help() {
        // Where three agree, they are right; where they don't, the right one comes out in the end.
        let easy = item(&["4"; 16], "4");
        let hard = item(
            &["7", "1", "7", "2", "7", "3", "9", "7", "5", "6", "7", "8", "7", "0", "7", "7"],
            "7",
        );
        let items = [vec![easy; 10], vec![hard; 10]].concat();
        let learnt = learn("m", &items, 0.01).unwrap();
        assert_eq!(learnt.thoughts[2], 3);
        assert!(learnt.thoughts[0] > 3, "{learnt:?}");
        assert_eq!(learnt.max_thinking, Some(125));
        assert!(learn("m", &[item(&["1"; 4], "1")], 0.01).is_err());
        assert!(learn("m", &[], 0.01).is_err());
        let auto = Auto { most: 8, calibration: Some(learnt) };
        assert!(auto.budget(0) <= 8);
        assert_eq!(auto.budget(3), 3);
    }
}
