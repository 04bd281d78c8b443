//! `factory`: a log becomes a fault class, minutes of downtime and the next job's start.
//!
//! There is one right answer, so the check is a JSON schema in which every value is a constant:
//! `ponder` judges by it without this program. The verb `check` says the same.
#![forbid(unsafe_code)]

mod logs;

use std::process::ExitCode;

use recipes::{Draft, Recipe, Unusable};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use verify::pattern::schema;
use verify::tasks::random::Random;
use verify::{Attempt, Verdict, Verifier};

/// What the right answer looks like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Task {
    schema: Value,
}

struct Factory;

impl Recipe for Factory {
    const NAME: &'static str = "factory";
    const ABOUT: &'static str = "Machine logs: the class of a fault, downtime, the next start";
    type Task = Task;

    fn make(random: &mut Random, difficulty: u32) -> Draft<Task> {
        logs::make(random, difficulty)
    }

    fn judge(task: &Task, answer: &str) -> Result<Verdict, Unusable> {
        let unusable = |error: verify::CannotTell| Unusable::new("schema", error.to_string());
        let task = schema::Task { schema: task.schema.clone(), whole: false };
        let schema = schema::Schema::new(&task).map_err(unusable)?;
        schema.verify(&Attempt::of(answer)).map_err(unusable)
    }
}

fn main() -> ExitCode {
    recipes::main::<Factory>()
}
