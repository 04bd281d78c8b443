//! A regular expression that must be found.

use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

use super::{shown, unreadable};
use crate::{Attempt, CannotTell, Verdict, Verifier};

/// The most a compiled expression, and its automaton, may take.
const MAX_SIZE: usize = 4 << 20;

/// Which expression is right.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// The expression, in the syntax of the `regex` crate: no look-around and no back-references,
    /// so that its time is linear in the answer's length.
    pub pattern: String,
    /// Whether it must match all of the answer but the white space around it; otherwise it must
    /// be found within.
    #[serde(default)]
    pub full: bool,
    /// Whether capitals don't matter.
    #[serde(default)]
    pub ignore_case: bool,
}

/// Judges by an expression.
#[derive(Clone, Debug)]
pub struct Regular {
    regex: Regex,
}

impl Regular {
    /// For this task.
    ///
    /// # Errors
    /// [`CannotTell::Task`] if the expression is none or too large.
    pub fn new(task: &Task) -> Result<Self, CannotTell> {
        let pattern = match task.full {
            true => format!("\\A(?:{})\\z", task.pattern),
            false => task.pattern.clone(),
        };
        let regex = RegexBuilder::new(&pattern)
            .case_insensitive(task.ignore_case)
            .size_limit(MAX_SIZE)
            .dfa_size_limit(MAX_SIZE)
            .build()
            .map_err(|e| CannotTell::Task { field: "pattern", why: e.to_string() })?;
        Ok(Self { regex })
    }
}

impl Verifier for Regular {
    fn verify(&self, attempt: &Attempt<'_>) -> Result<Verdict, CannotTell> {
        if let Some(verdict) = unreadable(attempt.answer) {
            return Ok(verdict);
        }
        Ok(match self.regex.find(attempt.answer.trim()) {
            Some(found) => Verdict::right(found.as_str(), "the expression matches"),
            None => Verdict::missing(format!("{:?} has no match", shown(self.regex.as_str()))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(task: serde_json::Value, answer: &str) -> bool {
        let task: Task = serde_json::from_value(task).unwrap();
        Regular::new(&task).unwrap().verify(&Attempt::of(answer)).unwrap().is_right()
    }

    #[test]
    fn searches_or_matches_all() {
        assert!(judge(serde_json::json!({"pattern": r"\d+ apples"}), "I have 12 apples."));
        assert!(!judge(serde_json::json!({"pattern": r"\d+", "full": true}), "12 apples"));
        assert!(judge(serde_json::json!({"pattern": "a|b", "full": true}), " b\n"));
        assert!(!judge(serde_json::json!({"pattern": "a|b", "full": true}), "ab"));
        assert!(judge(serde_json::json!({"pattern": "YES", "ignore_case": true}), "yes"));
    }

    #[test]
    fn refuses_what_is_none_or_too_large() {
        for pattern in ["(", r"(?=a)", r"\w{5000}{5000}"] {
            let task = Task { pattern: pattern.into(), ..Task::default() };
            assert!(matches!(Regular::new(&task), Err(CannotTell::Task { .. })), "{pattern}");
        }
    }

    #[test]
    fn hostile_answers_take_linear_time() {
        let task = Task { pattern: "(a+)+$".into(), ..Task::default() };
        let answer = "a".repeat(500_000) + "b";
        assert!(!Regular::new(&task).unwrap().verify(&Attempt::of(&answer)).unwrap().is_right());
    }
}
