//! `school`: a tutor that leads to an answer by true steps, and does not give it away before.
#![forbid(unsafe_code)]

mod check;
mod problems;

use std::process::ExitCode;

use recipes::{Draft, Recipe, Unusable};
use serde::{Deserialize, Serialize};
use verify::Verdict;
use verify::tasks::random::Random;

/// What a lesson must lead to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Lesson {
    /// The numbers that steps may begin with.
    given: Vec<String>,
    /// The number they must end with, which is none of `given`.
    answer: String,
    /// The fewest steps that lead there.
    least_steps: usize,
}

struct School;

impl Recipe for School {
    const NAME: &'static str = "school";
    const ABOUT: &'static str = "Word problems for a tutor that leads to the answer step by step";
    type Task = Lesson;

    fn make(random: &mut Random, difficulty: u32) -> Draft<Lesson> {
        problems::make(random, difficulty)
    }

    fn judge(task: &Lesson, answer: &str) -> Result<Verdict, Unusable> {
        check::judge(task, answer)
    }
}

fn main() -> ExitCode {
    recipes::main::<School>()
}
