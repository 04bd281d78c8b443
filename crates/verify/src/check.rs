//! Every kind of check, as data.
//!
//! A benchmark, a training set or a line of JSON says `{"kind": "math", "gold": "42"}`; with the
//! [`Tools`] of this machine that becomes a [`Verifier`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::external::{Checker, Config, External};
use crate::instructions::{self, Instructions};
use crate::math::Math;
use crate::pattern::{calls, choice, exact, regular, schema};
use crate::program::sandbox::Options;
use crate::program::{Case, Language, Sandbox, Tests};
use crate::puzzles::{colouring, countdown, sudoku};
use crate::{CannotTell, Verifier};

/// What makes an answer right.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Check {
    /// It is equal to a number, formula, set, interval and so on; see [`crate::math`].
    Math {
        /// The right answer.
        gold: Gold,
    },
    /// It is a text.
    Exact(exact::Task),
    /// It matches a regular expression.
    Regex(regular::Task),
    /// It is the letter of an option.
    Choice(choice::Task),
    /// It is JSON of a schema.
    Schema(schema::Task),
    /// It calls the right functions.
    Calls(calls::Task),
    /// It follows IFEval's instructions.
    Ifeval(instructions::Task),
    /// It is a Python function that passes the tests of HumanEval.
    Function(FunctionTask),
    /// It is a Python program that passes assertions, as in MBPP.
    Asserts(AssertsTask),
    /// It is a program that turns inputs into outputs, as in LiveCodeBench.
    Stdio(StdioTask),
    /// It reaches a number with others.
    Countdown(countdown::Task),
    /// It colours a graph.
    Colouring(colouring::Task),
    /// It fills a sudoku.
    Sudoku(sudoku::Task),
    /// A command says so.
    External(ExternalTask),
}

/// A Python function to be completed, with the field names of HumanEval.
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
    /// The program's language; Python if not given.
    #[serde(default)]
    pub language: Language,
    /// Numbers may differ by this much, or by this share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<f64>,
    /// Whether some right cases earn their share; nothing otherwise.
    #[serde(default)]
    pub partial: bool,
}

/// A command, and what it is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExternalTask {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// How many seconds it may take for one attempt; 30 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<f64>,
    /// What it is told of the task.
    #[serde(default)]
    pub task: Value,
}

/// A right answer, as text or as a plain number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Gold {
    /// Text.
    Text(String),
    /// A number, as JSON writes it.
    Number(serde_json::Number),
}

impl From<String> for Gold {
    fn from(text: String) -> Gold {
        Gold::Text(text)
    }
}

impl Gold {
    fn text(&self) -> String {
        match self {
            Gold::Text(text) => text.clone(),
            Gold::Number(number) => number.to_string(),
        }
    }
}

impl Check {
    /// Reads a check from JSON.
    ///
    /// # Errors
    /// [`CannotTell::Task`] if it isn't one.
    pub fn from_json(task: &Value) -> Result<Check, CannotTell> {
        Check::deserialize(task)
            .map_err(|error| CannotTell::Task { field: "check", why: error.to_string() })
    }

    /// What judges by it.
    ///
    /// # Errors
    /// [`CannotTell`] if the task is unusable, or this machine can't do what it takes.
    pub fn verifier(&self, tools: &Tools) -> Result<Box<dyn Verifier>, CannotTell> {
        Ok(match self {
            Check::Math { gold } => Box::new(Math::new(&gold.text())?),
            Check::Exact(task) => Box::new(exact::Exact::new(task)?),
            Check::Regex(task) => Box::new(regular::Regular::new(task)?),
            Check::Choice(task) => Box::new(choice::Choice::new(task)?),
            Check::Schema(task) => Box::new(schema::Schema::new(task)?),
            Check::Calls(task) => Box::new(calls::Calls::new(task)?),
            Check::Ifeval(task) => Box::new(Instructions::of(task)?),
            Check::Function(FunctionTask { prompt, test, entry_point }) => {
                Box::new(Tests::check(tools.sandbox()?, prompt, test, entry_point)?)
            }
            Check::Asserts(AssertsTask { tests, setup }) => {
                Box::new(Tests::asserts(tools.sandbox()?, setup, tests.clone())?)
            }
            Check::Stdio(task) => {
                let sandbox = tools.sandbox()?;
                let mut tests = Tests::cases(sandbox, task.language, task.cases.clone())?;
                if task.partial {
                    tests = tests.partial_credit();
                }
                if let Some(most) = task.tolerance {
                    tests = tests.tolerance(most);
                }
                Box::new(tests)
            }
            Check::Countdown(task) => Box::new(countdown::Countdown::new(task)?),
            Check::Colouring(task) => Box::new(colouring::Colouring::new(task)?),
            Check::Sudoku(task) => Box::new(sudoku::Sudoku::new(task)?),
            Check::External(task) => {
                Box::new(External::new(tools.checker(task)?, task.task.clone()))
            }
        })
    }
}

/// What verifiers need of this machine, made when it is first needed and then shared.
#[derive(Debug, Default)]
pub struct Tools {
    options: Options,
    sandbox: OnceLock<Result<Arc<Sandbox>, CannotTell>>,
    checkers: Mutex<HashMap<String, Arc<Checker>>>,
}

impl Tools {
    /// With a sandbox of these options.
    pub fn new(options: Options) -> Tools {
        Tools { options, ..Tools::default() }
    }

    /// The sandbox.
    ///
    /// # Errors
    /// As [`Sandbox::new`].
    pub fn sandbox(&self) -> Result<Arc<Sandbox>, CannotTell> {
        self.sandbox.get_or_init(|| Sandbox::new(self.options.clone()).map(Arc::new)).clone()
    }

    /// The command, which is started once for all who name it.
    fn checker(&self, task: &ExternalTask) -> Result<Arc<Checker>, CannotTell> {
        let config = Config {
            command: task.command.clone(),
            timeout_seconds: task.timeout_seconds.unwrap_or(30.0),
        };
        let key = format!("{config:?}");
        let mut checkers = self.checkers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(checker) = checkers.get(&key) {
            return Ok(Arc::clone(checker));
        }
        let checker = Checker::new(config)?;
        checkers.insert(key, Arc::clone(&checker));
        Ok(checker)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Attempt;

    #[test]
    fn checks_are_read_and_judge() {
        let tools = Tools::default();
        for (check, right, wrong) in [
            (json!({"kind": "math", "gold": 0.5}), "\\boxed{\\frac12}", "\\boxed{2}"),
            (json!({"kind": "exact", "gold": "yes"}), "yes", "no"),
            (json!({"kind": "regex", "pattern": "^a+$"}), "aaa", "b"),
            (json!({"kind": "choice", "gold": "B", "count": 4}), "\\boxed{B}", "\\boxed{C}"),
            (json!({"kind": "schema", "schema": {"type": "integer"}}), "3", "\"x\""),
            (json!({"kind": "countdown", "numbers": [2, 3], "target": 6}), "2*3", "2+3"),
        ] {
            let verifier = Check::from_json(&check).unwrap().verifier(&tools).unwrap();
            assert!(verifier.verify(&Attempt::of(right)).unwrap().is_right(), "{check}");
            assert!(!verifier.verify(&Attempt::of(wrong)).unwrap().is_right(), "{check}");
        }
        let error = Check::from_json(&json!({"kind": "magic"})).unwrap_err().to_string();
        assert!(error.contains("magic"), "{error}");
    }
}
