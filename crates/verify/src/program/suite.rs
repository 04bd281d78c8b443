//! Answers that are programs, held against tests.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::cases::{self, Case};
use super::{Language, Limits, Outcome, Sandbox, Status, extract};
use crate::{Attempt, CannotTell, Verdict, Verifier};

/// The program that holds the tests of Python functions.
const HARNESS: &str = include_str!("harness.py");

/// A task whose answer is a program, and the tests that it has to pass.
///
/// # What is guarded
///
/// What a program prints or how it exits never counts as a pass by itself. Tests of Python functions
/// are in another process than the answer and only send it calls; what comes back is plain data, and
/// a pass is a random token that the answer's process never had. So leaving early, printing what
/// the tests would print, replacing built-in functions, reading the tests, and objects that claim
/// to equal everything all fail. The expected output of stdin cases isn't in the sandbox at all.
///
/// # What isn't
///
/// Where a test passes the answer an object that can't be sent, such as an instance of a class of
/// its own, both have to run in one process. The token still has to be printed, so that leaving
/// early fails; but an answer that looks through that process's memory for it can find it. And
/// nothing helps against an answer that knows the expected values by heart.
#[derive(Clone, Debug)]
pub struct Tests {
    sandbox: Arc<Sandbox>,
    limits: Limits,
    partial: bool,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Check { prompt: String, test: String, entry: String },
    Asserts { setup: String, asserts: Vec<String>, entry: Option<String> },
    Cases { language: Language, cases: Vec<Case>, tolerance: Option<f64> },
}

impl Tests {
    /// As in HumanEval: a prompt that ends inside a Python function, and a test that defines
    /// `check(candidate)`, which is called with the function of that name.
    ///
    /// # Errors
    /// [`CannotTell::Task`] if the test defines no `check`.
    pub fn check(
        sandbox: Arc<Sandbox>,
        prompt: impl Into<String>,
        test: impl Into<String>,
        entry_point: impl Into<String>,
    ) -> Result<Self, CannotTell> {
        let (prompt, test, entry) = (prompt.into(), test.into(), entry_point.into());
        if !test.contains("def check(") {
            let why = "it defines no `check(candidate)`".to_owned();
            return Err(CannotTell::Task { field: "test", why });
        }
        if entry.is_empty() {
            let why = "it is empty: name the function to test".to_owned();
            return Err(CannotTell::Task { field: "entry_point", why });
        }
        Ok(Self::new(sandbox, Kind::Check { prompt, test, entry }))
    }

    /// As in MBPP: Python statements, each an `assert`, that are executed one by one after `setup`.
    ///
    /// # Errors
    /// [`CannotTell::Task`] if there are none.
    pub fn asserts(
        sandbox: Arc<Sandbox>,
        setup: impl Into<String>,
        asserts: Vec<String>,
    ) -> Result<Self, CannotTell> {
        if asserts.is_empty() {
            let why = "there is none: nothing would be tested".to_owned();
            return Err(CannotTell::Task { field: "asserts", why });
        }
        let entry = asserts.iter().find_map(|text| called(text));
        Ok(Self::new(sandbox, Kind::Asserts { setup: setup.into(), asserts, entry }))
    }

    /// As in LiveCodeBench: whole programs, which read from stdin and write to stdout.
    ///
    /// # Errors
    /// [`CannotTell::Task`] if there are none.
    pub fn cases(
        sandbox: Arc<Sandbox>,
        language: Language,
        cases: Vec<Case>,
    ) -> Result<Self, CannotTell> {
        if cases.is_empty() {
            let why = "there is none: nothing would be tested".to_owned();
            return Err(CannotTell::Task { field: "cases", why });
        }
        Ok(Self::new(sandbox, Kind::Cases { language, cases, tolerance: None }))
    }

    fn new(sandbox: Arc<Sandbox>, kind: Kind) -> Self {
        Self { sandbox, limits: Limits::default(), partial: false, kind }
    }

    /// With these limits for each run: one of all asserts, or one of each case.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// With the share of asserts or cases that passed as the score. Without this an answer that
    /// fails one earns nothing, as benchmarks count it, and the rest isn't run.
    #[must_use]
    pub fn partial_credit(mut self) -> Self {
        self.partial = true;
        self
    }

    /// With numbers in the output of cases equal if they differ by no more than this, or by this
    /// share of the expected one.
    #[must_use]
    pub fn tolerance(mut self, most: f64) -> Self {
        if let Kind::Cases { tolerance, .. } = &mut self.kind {
            *tolerance = Some(most);
        }
        self
    }

    fn python(&self, mut orders: Orders<'_>) -> Result<Verdict, CannotTell> {
        orders.token = token();
        let (mut outcome, mut said) = self.ask(&orders)?;
        if matches!(&said, Some(Said { unsupported: Some(_), .. })) {
            orders.apart = false;
            (outcome, said) = self.ask(&orders)?;
        }
        let answer = orders.answer;
        let Some(said) = said else {
            return Ok(Verdict::wrong(answer, format!("the program {}", ended(&outcome))));
        };
        if let Some(why) = said.task {
            return Err(CannotTell::Task { field: "test", why });
        }
        let (passed, total) = (said.passed, said.total);
        let why = match said.why {
            None if passed == total => return Ok(Verdict::right(answer, "all tests pass")),
            None => format!("{passed} of {total} passed"),
            Some(why) if total > 1 => format!("{passed} of {total} passed; {why}"),
            Some(why) => why,
        };
        let score = if self.partial { passed as f64 / total.max(1) as f64 } else { 0.0 };
        Ok(Verdict::new(score, Some(answer.to_owned()), why))
    }

    /// Runs the tests once; what they say, if they came to an end.
    fn ask(&self, orders: &Orders<'_>) -> Result<(Outcome, Option<Said>), CannotTell> {
        let text = serde_json::to_string(orders)
            .map_err(|e| CannotTell::Task { field: "test", why: e.to_string() })?;
        let outcome = self.sandbox.run(Language::Python, HARNESS, &text, &self.limits)?;
        let line = outcome.stdout.lines().rev().find_map(|l| l.strip_prefix(orders.token.as_str()));
        let said = line.and_then(|line| serde_json::from_str(line).ok());
        Ok((outcome, said))
    }

    fn stdin_cases(
        &self,
        language: Language,
        cases: &[Case],
        tolerance: Option<f64>,
        program: &str,
    ) -> Result<Verdict, CannotTell> {
        let mut passed = 0;
        let mut first = None;
        for (index, case) in cases.iter().enumerate() {
            let outcome = self.sandbox.run(language, program, &case.input, &self.limits)?;
            let failure = if outcome.status.is_success() {
                cases::difference(&outcome.stdout, &case.output, tolerance)
            } else {
                Some(format!("the program {}", ended(&outcome)))
            };
            match failure {
                None => passed += 1,
                Some(why) => {
                    let excerpt = cases::excerpt(&case.input);
                    first.get_or_insert_with(|| format!("case {}, on {excerpt}: {why}", index + 1));
                    // What doesn't compile once never does.
                    if !self.partial || outcome.status == Status::NotCompiled {
                        break;
                    }
                }
            }
        }
        let total = cases.len();
        let Some(first) = first else {
            return Ok(Verdict::right(program, format!("all {total} cases pass")));
        };
        if !self.partial {
            return Ok(Verdict::wrong(program, first));
        }
        let score = f64::from(passed) / total as f64;
        let why = format!("{passed} of {total} cases pass; {first}");
        Ok(Verdict::new(score, Some(program.to_owned()), why))
    }
}

impl Verifier for Tests {
    fn verify(&self, attempt: &Attempt<'_>) -> Result<Verdict, CannotTell> {
        let answer = attempt.answer;
        let found = match &self.kind {
            Kind::Check { prompt, entry, .. } => extract::function(answer, prompt, entry),
            Kind::Asserts { entry: Some(entry), .. } => extract::function(answer, "", entry)
                .or_else(|| extract::whole(answer, Language::Python)),
            Kind::Asserts { .. } => extract::whole(answer, Language::Python),
            Kind::Cases { language, .. } => extract::whole(answer, *language),
        };
        let Some(program) = found else {
            return Ok(Verdict::missing("the answer holds no program"));
        };
        let orders = Orders { apart: true, answer: &program, ..Orders::default() };
        match &self.kind {
            Kind::Check { prompt, test, entry } => {
                self.python(Orders { prompt, test, entry, ..orders })
            }
            Kind::Asserts { setup, asserts, .. } => {
                self.python(Orders { test: setup, asserts, ..orders })
            }
            Kind::Cases { language, cases, tolerance } => {
                self.stdin_cases(*language, cases, *tolerance, &program)
            }
        }
    }
}

/// What the harness reads.
#[derive(Clone, Debug, Default, Serialize)]
struct Orders<'a> {
    token: String,
    /// Whether tests and answer are in processes of their own.
    apart: bool,
    answer: &'a str,
    prompt: &'a str,
    test: &'a str,
    asserts: &'a [String],
    entry: &'a str,
}

/// What the harness says after the token.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Said {
    passed: u32,
    total: u32,
    why: Option<String>,
    /// What is wrong with the tests themselves.
    task: Option<String>,
    /// What the tests pass to the answer that can't leave their process.
    unsupported: Option<String>,
}

/// What nobody can guess: the keys of a hasher come from the system's source of randomness.
fn token() -> String {
    let part = || {
        let mut hasher = RandomState::new().build_hasher();
        hasher.write_u8(0);
        hasher.finish()
    };
    format!("{:016x}{:016x}", part(), part())
}

/// How a program ended, with the last thing it said.
fn ended(outcome: &Outcome) -> String {
    let last = outcome.stderr.lines().rev().find(|line| !line.trim().is_empty());
    // A compiler says what is wrong first, an interpreter last.
    let first = outcome.stderr.lines().find(|line| line.starts_with("error"));
    let said = if outcome.status == Status::NotCompiled { first.or(last) } else { last };
    match said {
        Some(said) => format!("{}: {}", outcome.status, cases::excerpt(said)),
        None => outcome.status.to_string(),
    }
}

/// The function an assert calls, to know the block that defines it.
fn called(text: &str) -> Option<String> {
    let mut rest = text.trim_start().strip_prefix("assert")?;
    loop {
        let open = rest.find('(')?;
        let before = &rest[..open];
        let start = before
            .char_indices()
            .rev()
            .take_while(|(_, c)| c.is_alphanumeric() || *c == '_')
            .last()
            .map(|(at, _)| at);
        if let Some(start) = start {
            let (name, before) = (&before[start..], &before[..start]);
            let common = [
                "set", "sorted", "list", "tuple", "abs", "len", "str", "int", "round", "dict",
                "sum", "isclose", "not",
            ];
            if !common.contains(&name) && !before.ends_with('.') {
                return Some(name.to_owned());
            }
        }
        rest = &rest[open + 1..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asserts_name_their_function() {
        let name = |text| called(text);
        assert_eq!(name("assert f(1) == 2").as_deref(), Some("f"));
        assert_eq!(name("assert set(similar((3, 4))) == set((4,))").as_deref(), Some("similar"));
        assert_eq!(name("assert math.isclose(area(1), 2)").as_deref(), Some("area"));
        assert_eq!(name("assert not (is_odd(2))").as_deref(), Some("is_odd"));
        assert_eq!(name("assert x == 2"), None);
    }

    #[test]
    fn tokens_differ() {
        assert_ne!(token(), token());
        assert_eq!(token().len(), 32);
    }
}
