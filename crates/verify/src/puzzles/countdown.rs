//! Countdown and the game of 24: reach a number with the given ones.

use serde::{Deserialize, Serialize};

use super::expression::{self, Ratio, Worth};
use crate::pattern::{extract, shown, unreadable};
use crate::{Attempt, CannotTell, Verdict, Verifier};

/// What is to be reached with what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// The numbers, each to be used at most as often as it is listed.
    pub numbers: Vec<u64>,
    /// What is to be reached.
    pub target: i64,
    /// Whether every number must be used, as in the game of 24.
    #[serde(default)]
    pub all: bool,
}

impl Task {
    /// The game of 24 with these numbers.
    pub fn twenty_four(numbers: [u64; 4]) -> Self {
        Self { numbers: numbers.to_vec(), target: 24, all: true }
    }
}

/// Judges by what an expression is worth and which numbers it uses.
#[derive(Clone, Debug)]
pub struct Countdown {
    task: Task,
}

impl Countdown {
    /// For this task.
    ///
    /// # Errors
    /// [`CannotTell::Task`] unless there are 1 to 64 numbers.
    pub fn new(task: &Task) -> Result<Self, CannotTell> {
        if !(1..=64).contains(&task.numbers.len()) {
            let why = format!("there must be 1 to 64 of them, not {}", task.numbers.len());
            return Err(CannotTell::Task { field: "numbers", why });
        }
        Ok(Self { task: task.clone() })
    }

    fn mismatch(&self, worth: &Worth) -> Option<String> {
        let mut left = self.task.numbers.clone();
        for number in &worth.numbers {
            match left.iter().position(|n| n == number) {
                Some(at) => drop(left.swap_remove(at)),
                None => return Some(format!("{number} is not there, or used too often")),
            }
        }
        if self.task.all && !left.is_empty() {
            return Some(format!("{} is not used", left[0]));
        }
        let reached = worth.value == Ratio::whole(self.task.target);
        (!reached).then(|| format!("it is {}, not {}", worth.value, self.task.target))
    }
}

/// The expression an answer gives, or why there is none.
fn expression(answer: &str) -> Option<(String, Result<Worth, String>)> {
    let marked = extract::boxed(answer).or_else(|| extract::tagged(answer, "answer"));
    if let Some(marked) = marked {
        // Steps may stand before it within the tags.
        let line = extract::last_line(marked).unwrap_or(marked);
        return Some(of_line(line));
    }
    let announced = extract::announced(answer).map(of_line).filter(|(_, worth)| worth.is_ok());
    announced.or_else(|| extract::last_line(answer).map(of_line))
}

/// The expression on a line, tolerating "= 24" on either side and words around it.
fn of_line(line: &str) -> (String, Result<Worth, String>) {
    let line = extract::bare(line);
    let line = line.rsplit_once(':').map_or(line, |(_, after)| extract::bare(after));
    let line = line.trim_start_matches("\\(").trim_end_matches("\\)");
    let mut first = None;
    for side in line.split(['=', '≈', '→']).take(64) {
        let side = extract::bare(side);
        let mut worth = expression::evaluate(side);
        let mut text = side.to_owned();
        if worth.is_err() && side.len() < 10_000 {
            // Words may surround it: the longest stretch that is an expression counts.
            let runs = side.split(|c| !expression::is_part(c)).map(str::trim);
            let parsed = runs.filter_map(|run| Some((run, expression::evaluate(run).ok()?)));
            let found = parsed.filter(|(_, worth)| worth.has_operation);
            if let Some((run, found)) = found.max_by_key(|(run, _)| run.len()) {
                (text, worth) = (run.to_owned(), Ok(found));
            }
        }
        if worth.as_ref().is_ok_and(|worth| worth.has_operation) {
            return (text, worth);
        }
        first = first.or(Some((text, worth)));
    }
    first.unwrap_or_else(|| (line.to_owned(), Err("there is no expression".to_owned())))
}

impl Verifier for Countdown {
    fn verify(&self, attempt: &Attempt<'_>) -> Result<Verdict, CannotTell> {
        if let Some(verdict) = unreadable(attempt.answer) {
            return Ok(verdict);
        }
        let Some((text, worth)) = expression(attempt.answer) else {
            return Ok(Verdict::missing("the answer holds no expression"));
        };
        Ok(match worth {
            Err(why) => Verdict::missing(format!("{:?} is no expression: {why}", shown(&text))),
            Ok(worth) => match self.mismatch(&worth) {
                Some(why) => Verdict::wrong(shown(&text), why),
                None => Verdict::right(text, format!("it is {}", self.task.target)),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(answer: &str) -> Verdict {
        let verifier = Countdown::new(&Task::twenty_four([3, 3, 8, 8])).unwrap();
        verifier.verify(&Attempt::of(answer)).unwrap()
    }

    #[test]
    fn finds_the_expression() {
        for answer in [
            "8/(3-8/3)",
            "8 / (3 - 8 / 3) = 24",
            "24 = 8/(3-8/3)",
            "I tried 3*8 = 24 first.\n\n**8 / (3 - 8/3) = 24**",
            "<answer>8/(3-8/3)</answer>",
            "<answer> 8/(3-8/3) = 24 </answer>",
            "$\\boxed{8 \\div (3 - \\frac{8}{3}) = 24}$",
            "The answer is 8/(3-8/3).",
            "Answer: `8/(3-8/3)`",
            "So 8/(3-8/3) gives it.",
            "\\boxed{\\frac{8}{3-\\frac{8}{3}}}",
            "8/(3-8/3) = 8/(1/3) = 24",
        ] {
            let verdict = judge(answer);
            assert!(verdict.is_right(), "{answer}: {}", verdict.why);
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (answer, why) in [
            ("3*8", "not used"),
            ("3*8*1", "1 is not there"),
            ("3*8 + 3 - 3", "3 is not there"),
            ("8+8+3+3", "22"),
            ("8/(3-8/3", "parentheses"),
            ("(8-8)/(3-3)", "zero"),
            ("24", "24 is not there"),
            ("", "empty"),
            ("I give up", "no expression"),
            ("<answer></answer>", "no expression"),
        ] {
            let verdict = judge(answer);
            assert!(!verdict.is_right(), "{answer}");
            assert!(verdict.why.contains(why), "{answer}: {}", verdict.why);
        }
    }

    #[test]
    fn countdown_may_leave_numbers() {
        let task = Task { numbers: vec![25, 4, 7, 1], target: 107, all: false };
        let judge = |answer| Countdown::new(&task).unwrap().verify(&Attempt::of(answer)).unwrap();
        assert!(judge("25*4 + 7").is_right());
        assert!(!judge("25*4 + 7 + 1 - 1").is_right());
        let one = Task { numbers: vec![5], target: 5, all: true };
        assert!(Countdown::new(&one).unwrap().verify(&Attempt::of("5")).unwrap().is_right());
    }

    proptest::proptest! {
        #[test]
        fn never_panics(answer in r"([0-9+*/() =:.\n-]|\\boxed\{|\}|<answer>|a){0,50}") {
            judge(&answer);
        }
    }
}
