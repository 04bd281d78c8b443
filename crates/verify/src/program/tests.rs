//! Programs held against tests.
//!
//! A test that fails raises; a program that got through all of them then prints a mark made for this one
//! run, so that a program that ends early, whatever its exit code, has not passed. A program that looks
//! for the mark in its own file or memory can still print it: this keeps accidents and lazy tricks out,
//! not an author who has studied it.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Language, Limits, Outcome, Sandbox, Status, code};
use crate::pattern::shown;
use crate::{Attempt, CannotTell, Verdict, Verifier};

/// Seconds for all tests of a function, or for one case.
const SECONDS: f64 = 10.0;

/// A function to be completed, with the field names of HumanEval.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FunctionTask {
    /// The program up to and with the function's head.
    pub prompt: String,
    /// Defines `check(candidate)`, which raises if the function is wrong.
    pub test: String,
    /// The function's name.
    pub entry_point: String,
}

/// A Python program to be held against assertions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssertsTask {
    /// Statements that raise if the program is wrong.
    pub tests: Vec<String>,
    /// Runs before the program.
    #[serde(default)]
    pub setup: String,
}

/// A program that reads and writes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StdioTask {
    /// What goes in and what must come out.
    pub cases: Vec<Case>,
    /// The program's language.
    #[serde(default)]
    pub language: Language,
    /// Numbers may differ by this much, absolutely or relatively.
    #[serde(default)]
    pub tolerance: f64,
    /// Whether some right cases earn their share; nothing otherwise.
    #[serde(default)]
    pub partial: bool,
}

/// One run of a program.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// Its standard input.
    pub input: String,
    /// Its standard output, but for white space at the ends of lines and of the text.
    pub output: String,
}

#[derive(Debug)]
enum Task {
    Function(FunctionTask),
    Asserts(AssertsTask),
    Stdio(StdioTask),
}

/// Judges by running the program.
#[derive(Debug)]
pub struct Tests {
    sandbox: Arc<Sandbox>,
    task: Task,
}

impl Tests {
    /// For a function.
    pub fn function(sandbox: Arc<Sandbox>, task: FunctionTask) -> Self {
        Self { sandbox, task: Task::Function(task) }
    }

    /// For assertions.
    pub fn asserts(sandbox: Arc<Sandbox>, task: AssertsTask) -> Self {
        Self { sandbox, task: Task::Asserts(task) }
    }

    /// For inputs and outputs.
    pub fn stdio(sandbox: Arc<Sandbox>, task: StdioTask) -> Self {
        Self { sandbox, task: Task::Stdio(task) }
    }

    /// Runs a Python program and the tests behind it.
    fn python(&self, program: String, tests: &str) -> Result<Verdict, CannotTell> {
        let mark = mark();
        let source = format!("{program}\n\n{tests}\n\nprint()\nprint({mark:?})\n");
        let limits = Limits::seconds(SECONDS);
        let outcome = self.sandbox.run(Language::Python, &source, "", &limits)?;
        let passed = outcome.status.is_success() && outcome.stdout.trim_end().ends_with(&mark);
        Ok(match passed {
            true => Verdict::right(program, "all tests pass"),
            false => Verdict::wrong(program, failure(&outcome)),
        })
    }

    fn cases(&self, task: &StdioTask, program: String) -> Result<Verdict, CannotTell> {
        let mut passed = 0;
        let mut first = None;
        for (i, case) in task.cases.iter().enumerate() {
            let limits = Limits::seconds(SECONDS);
            let outcome = self.sandbox.run(task.language, &program, &case.input, &limits)?;
            let right = outcome.status.is_success()
                && same_output(&case.output, &outcome.stdout, task.tolerance);
            if right {
                passed += 1;
                continue;
            }
            let why = match outcome.status.is_success() {
                true => format!(
                    "it wrote {:?} instead of {:?}",
                    shown(outcome.stdout.trim_end()),
                    shown(case.output.trim_end())
                ),
                false => failure(&outcome),
            };
            first.get_or_insert(format!("case {} of {}: {why}", i + 1, task.cases.len()));
            if !task.partial || outcome.status == Status::NotCompiled {
                break;
            }
        }
        Ok(match first {
            None => Verdict::right(program, format!("all {} cases are right", task.cases.len())),
            Some(why) => {
                let share = passed as f64 / task.cases.len() as f64;
                Verdict::new(if task.partial { share } else { 0.0 }, Some(program), why)
            }
        })
    }
}

impl Verifier for Tests {
    fn verify(&self, attempt: &Attempt<'_>) -> Result<Verdict, CannotTell> {
        let nothing = || Ok(Verdict::missing("there is no program in the answer"));
        match &self.task {
            Task::Function(task) => {
                let found = code::function(attempt.answer, &task.prompt, &task.entry_point);
                let Some(program) = found else { return nothing() };
                self.python(program, &format!("{}\n\ncheck({})", task.test, task.entry_point))
            }
            Task::Asserts(task) => {
                let found = code::program(attempt.answer, Language::Python);
                let Some(program) = found else { return nothing() };
                self.python(format!("{}\n{program}", task.setup), &task.tests.join("\n"))
            }
            Task::Stdio(task) if task.cases.is_empty() => Err(CannotTell::Task {
                field: "cases",
                why: "there must be at least one".to_owned(),
            }),
            Task::Stdio(task) => match code::program(attempt.answer, task.language) {
                Some(program) => self.cases(task, program),
                None => nothing(),
            },
        }
    }
}

/// A text that no program can know before it runs.
fn mark() -> String {
    let random = || RandomState::new().build_hasher().finish();
    format!("passed-{:016x}{:016x}", random(), random())
}

/// Why a run failed, in one sentence.
fn failure(outcome: &Outcome) -> String {
    if outcome.status.is_success() {
        return "it ended before the tests did".to_owned();
    }
    let last = outcome.stderr.lines().rev().find(|line| !line.trim().is_empty());
    match last {
        Some(line) => format!("it {}: {}", outcome.status, shown(line.trim())),
        None => format!("it {}", outcome.status),
    }
}

/// Whether two outputs are the same but for white space, and for numbers within the tolerance.
fn same_output(wanted: &str, written: &str, tolerance: f64) -> bool {
    let near = |a: &str, b: &str| match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) => (a - b).abs() <= tolerance * a.abs().max(1.0),
        _ => false,
    };
    let lines = |text: &str| -> Vec<String> {
        text.trim_end().lines().map(|line| line.trim_end().to_owned()).collect()
    };
    let (wanted, written) = (lines(wanted), lines(written));
    wanted.len() == written.len()
        && wanted.iter().zip(&written).all(|(a, b)| {
            let (x, y) = (a.split_whitespace(), b.split_whitespace());
            a == b
                || (tolerance > 0.0
                    && x.clone().count() == y.clone().count()
                    && x.zip(y).all(|(a, b)| a == b || near(a, b)))
        })
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn outputs_are_compared_without_their_ends() {
        assert!(same_output("1 2\n3\n", "1 2  \n3\n\n", 0.0));
        assert!(!same_output("1 2\n3\n", "1 2\n\n3\n", 0.0));
        assert!(!same_output("0.5", "0.50000001", 0.0));
        assert!(same_output("0.5 x", "0.50000001 x", 1e-6));
        assert!(!same_output("0.5 x", "0.50000001 y", 1e-6));
        assert!(!same_output("1", "nan", 1e-6));
        assert_ne!(mark(), mark());
    }
}
