//! Several thoughts, and the one a verifier likes best.

use engine::Flow;
use serde::{Deserialize, Serialize};

use super::{Outcome, Strategy};
use crate::Error;
use crate::mind::Mind;

/// Best of n: the thought with the highest score wins; one that is right ends the search.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BestOf {
    /// Thoughts, at most.
    pub n: usize,
}

impl Default for BestOf {
    fn default() -> BestOf {
        BestOf { n: 8 }
    }
}

impl Strategy for BestOf {
    fn name(&self) -> &'static str {
        "best-of"
    }

    fn reason(&self, mind: &Mind<'_>) -> Result<Outcome, Error> {
        if mind.problem.verifier.is_none() {
            return Err(Error::Setting(
                "best-of needs a verifier\nhint: name one with --check, or use vote".to_owned(),
            ));
        }
        let plans = (0..self.n.max(1)).map(|_| mind.plan()).collect();
        let thoughts = mind.think_all(plans, self.n, &mut |thought| {
            thought.score = mind.score(thought);
            if thought.score == Some(1.0) { Flow::Stop } else { Flow::Continue }
        })?;
        let chosen = (0..thoughts.len()).max_by(|&i, &j| {
            let score = |at: usize| thoughts[at].score.unwrap_or(-1.0);
            score(i).total_cmp(&score(j)).then(j.cmp(&i))
        });
        let confidence = chosen.and_then(|at| thoughts[at].score);
        let why = match confidence {
            Some(score) => format!("scored {score:.2}, the best of {}", thoughts.len()),
            None => "none could be judged".to_owned(),
        };
        Ok(Outcome { thoughts, chosen, confidence, why, ..Outcome::default() })
    }
}
