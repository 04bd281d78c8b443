//! `hospital`: units, doses and rates, with a range that no answer may leave. No medical device.
#![forbid(unsafe_code)]

mod check;
mod orders;

use std::process::ExitCode;

use recipes::{Draft, Recipe, Unusable};
use serde::{Deserialize, Serialize};
use verify::Verdict;
use verify::tasks::random::Random;

/// A quantity that is a product over a product, and where it is safe. Numbers are decimals in text,
/// so that nothing is rounded on the way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Quantity {
    factors: Vec<String>,
    divisors: Vec<String>,
    unit: String,
    /// The least that is safe.
    low: String,
    /// The most that is safe.
    high: String,
}

struct Hospital;

impl Recipe for Hospital {
    const NAME: &'static str = "hospital";
    const ABOUT: &'static str = "Doses, units and rates within a stated range; no medical device";
    type Task = Quantity;

    fn make(random: &mut Random, difficulty: u32) -> Draft<Quantity> {
        orders::make(random, difficulty)
    }

    fn judge(task: &Quantity, answer: &str) -> Result<Verdict, Unusable> {
        check::judge(task, answer)
    }
}

fn main() -> ExitCode {
    recipes::main::<Hospital>()
}
